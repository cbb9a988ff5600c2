//! The scheduler, as stories.
