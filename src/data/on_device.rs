//! Features of a batch that are already copied to the device.

use std::any::Any;
use std::sync::{Arc, Mutex};

/// A slot for the features of a group of tokens on the device; they are taken out once.
#[derive(Clone, Debug, Default)]
pub struct OnDevice(Arc<Mutex<Option<Arc<dyn Any + Send + Sync>>>>);

impl OnDevice {
    /// Stores features, in place of earlier ones.
    pub fn put(&self, features: Arc<dyn Any + Send + Sync>) {
        if let Ok(mut slot) = self.0.lock() {
            *slot = Some(features);
        }
    }

    /// Takes the features out; `None` if there are none or they are of another type.
    pub fn take<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.lock().ok()?.take()?.downcast().ok()
    }
}
