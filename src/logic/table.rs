//! A persistent ordered map: cloning one is a pointer copy, which is what makes snapshots free.

use std::borrow::Borrow;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

/// Rows by key, in key order. A clone shares all rows with the original.
#[derive(Clone)]
pub struct Table<K: Ord, V> {
    rows: RedBlackTreeMapSync<K, Arc<V>>,
}

impl<K: Ord, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            rows: RedBlackTreeMapSync::new_sync(),
        }
    }
}

impl<K: Ord + Clone, V> Table<K, V> {
    pub fn get<Q>(&self, key: &Q) -> Option<&Arc<V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.rows.get(key)
    }

    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.rows.contains_key(key)
    }

    pub fn insert(&mut self, key: K, row: V) {
        self.rows.insert_mut(key, Arc::new(row));
    }

    pub fn insert_shared(&mut self, key: K, row: Arc<V>) {
        self.rows.insert_mut(key, row);
    }

    /// Removes a row; tells whether there was one.
    pub fn remove<Q>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.rows.remove_mut(key)
    }

    pub fn len(&self) -> usize {
        self.rows.size()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &Arc<V>)> {
        self.rows.iter()
    }

    pub fn values(&self) -> impl Iterator<Item = &Arc<V>> {
        self.rows.values()
    }

    pub fn range<Q, R>(&self, range: R) -> impl Iterator<Item = (&K, &Arc<V>)>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
        R: RangeBounds<Q>,
    {
        self.rows.range(range)
    }
}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.rows.iter()).finish()
    }
}

impl<K: Ord + Clone, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl<K: Ord + Clone, V> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(rows: I) -> Self {
        let mut table = Self::default();
        for (key, row) in rows {
            table.insert(key, row);
        }
        table
    }
}
