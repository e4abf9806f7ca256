//! Lists of names in messages, which stay short however many names a file has.

/// Most names in a list.
const NAMED: usize = 10;
/// Most characters of a name.
const CHARACTERS: usize = 200;

/// The first ten names, joined, and the number of all if there are more: `a, b, … (12 in all)`. A name of more than 200
/// characters is cut.
pub fn listed(names: impl IntoIterator<Item = impl AsRef<str>>, separator: &str) -> String {
    let (mut list, mut all) = (String::new(), 0);
    for name in names {
        all += 1;
        if all > NAMED {
            continue;
        }
        if all > 1 {
            list.push_str(separator);
        }
        let name = name.as_ref();
        match name.char_indices().nth(CHARACTERS) {
            Some((end, _)) => list.extend([&name[..end], "…"]),
            None => list.push_str(name),
        }
    }
    match all > NAMED {
        true => format!("{list}{separator}… ({all} in all)"),
        false => list,
    }
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn ten_names_are_listed_and_more_are_counted() {
        assert_eq!(listed(["a", "b"], ", "), "a, b");
        assert_eq!(listed([""; 0], ", "), "");
        let many = (0..1_000_000).map(|i| i.to_string());
        assert_eq!(listed(many, "; "), "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; … (1000000 in all)");
        assert_eq!(listed(["ä".repeat(500)], ", ").chars().count(), 201);
    }
}
