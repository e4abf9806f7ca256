//! What of a batch has gone ahead to its device.

use std::any::Any;
use std::sync::{Arc, Mutex};

/// A place for what a device holds of a batch already; taken out once.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<Mutex<Option<Arc<dyn Any + Send + Sync>>>>);

impl Sent {
    /// Notes that this is there; what was there before is forgotten.
    pub fn put(&self, there: Arc<dyn Any + Send + Sync>) {
        if let Ok(mut place) = self.0.lock() {
            *place = Some(there);
        }
    }

    /// What is there, if it is of this type; nothing is there afterwards.
    pub fn take<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.lock().ok()?.take()?.downcast().ok()
    }
}
