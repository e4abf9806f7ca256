//! Images of one size and their labels in memory: the content of IDX and CIFAR-10 files.

use super::place::origin;
use super::{Table, unknown_field};
use crate::data::DataError;
use smalti_contract::{Array, Numbers, Value};

/// The images of one or several files.
pub struct Pixels {
    /// The location, for messages.
    pub name: String,
    /// The images of each file.
    pub sets: Vec<Set>,
    /// The class names, if the source declares them.
    pub classes: Option<Vec<String>>,
    /// Files that are not used, each with the reason.
    pub skipped: Vec<(String, &'static str)>,
    fields: [String; 3],
}

/// The images of one file.
pub struct Set {
    /// The file.
    pub location: String,
    /// The split, by the file's name.
    pub split: String,
    /// `[height, width]` or `[height, width, channels]`.
    pub shape: Vec<usize>,
    /// `[n_images, …shape]`, row-major.
    pub pixels: Vec<u8>,
    /// `[n_images]`.
    pub labels: Vec<u8>,
    /// The error of a file that cannot be read, which counts as one row.
    pub problem: Option<String>,
}

impl Pixels {
    /// A table of the fields `image`, `label` and `split`.
    ///
    /// # Errors
    /// [`DataError::Layout`] for a file whose numbers of images and labels differ.
    pub fn new(name: &str, sets: Vec<Set>, classes: Option<Vec<String>>) -> Result<Self, DataError> {
        for set in sets.iter().filter(|set| set.problem.is_none()) {
            let images = set.pixels.len() / set.shape.iter().product::<usize>().max(1);
            if images != set.labels.len() {
                let problem =
                    format!("expected a label for each of {images} images; found {}", set.labels.len());
                return Err(DataError::layout(&set.location, problem));
            }
        }
        let fields = ["image", "label", "split"].map(String::from);
        Ok(Self { name: name.into(), sets, classes, skipped: vec![], fields })
    }

    fn find(&self, mut row: usize) -> (&Set, usize) {
        let last = self.sets.len() - 1;
        for set in &self.sets[..last] {
            match row.checked_sub(set.labels.len()) {
                None => return (set, row),
                Some(rest) => row = rest,
            }
        }
        (&self.sets[last], row)
    }
}

impl Table for Pixels {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.sets.iter().map(|set| set.labels.len()).sum()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        let (set, row) = self.find(row);
        if let (Some(problem), "image" | "label") = (&set.problem, field) {
            return Err(DataError::tokenize(&set.location, problem));
        }
        match field {
            "image" => {
                let size: usize = set.shape.iter().product();
                let pixels = set.pixels[row * size..][..size].to_vec();
                Ok(Value::Array(Array { shape: set.shape.clone(), numbers: Numbers::U8(pixels) }))
            }
            "label" => {
                let label = set.labels[row];
                let name = self.classes.as_ref().and_then(|classes| classes.get(usize::from(label)));
                Ok(name.map_or(Value::Number(f64::from(label)), |name| Value::Text(name.clone())))
            }
            "split" => Ok(Value::Text(set.split.clone())),
            _ => Err(unknown_field(self, field)),
        }
    }

    fn location(&self, row: usize) -> String {
        let (set, row) = self.find(row);
        match set.problem {
            None => format!("{} image {}", set.location, row + 1),
            Some(_) => set.location.clone(),
        }
    }

    fn origin(&self, row: usize) -> Option<String> {
        let (set, row) = self.find(row);
        Some(format!("{} image {row}", origin(&set.location)?))
    }

    fn classes(&self, field: &str) -> Option<&[String]> {
        self.classes.as_deref().filter(|_| field == "label")
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}
