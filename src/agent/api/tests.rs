//! Both APIs through their routers.
