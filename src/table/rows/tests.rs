//! Corrupt tables of every format.

use super::*;
use crate::data::testing::{at, folder_of};
use crate::table::Source;
use proptest::prelude::*;

fn opened(location: &str) -> Result<Arc<dyn Table>, DataError> {
    open(&Place::new(&Source::new(location))).map(Option::unwrap)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_tables_cause_no_panic(text in "[a\tb,\"\\[\\]{}:1.\n]{0,80}") {
        let folder = folder_of(&[]);
        for name in ["m.tsv", "m.csv", "m.jsonl"] {
            std::fs::write(at(&folder, name), &text).unwrap();
            if let Ok(table) = opened(&at(&folder, name)) {
                for field in table.fields() {
                    let values = (0..table.len()).map(|row| table.value(row, field));
                    prop_assert!(values.collect::<Result<Vec<_>, _>>().is_ok());
                }
            }
        }
    }
}
