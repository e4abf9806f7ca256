//! Patterns of names of parameters and token kinds.

/// Whether a name matches a pattern, in which `*` stands for zero or more characters.
///
/// The text before the first `*` and the one after the last are at the ends. Each one between them may be at its first place
/// after the one before: a later place leaves less for the rest.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (Some((start, rest)), Some((_, end))) = (pattern.split_once('*'), pattern.rsplit_once('*')) else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(start).and_then(|name| name.strip_suffix(end)) else {
        return false;
    };
    let between = rest.strip_suffix(end).unwrap_or_default();
    for part in between.split('*') {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name) in [
            ("*", ""),
            ("a", "a"),
            ("a*", "a"),
            ("*a", "ba"),
            ("a*c", "abc"),
            ("a**c", "ac"),
            ("*b*", "abc"),
            ("a*b*c", "axbxbxc"),
            ("*aab", "aaab"),
            ("é*é", "éé"),
            ("blocks.*.weight", "blocks.0.attention.weight"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a*a", "a"),
            ("ab*b", "ab"),
            ("a", "ab"),
            ("", "a"),
            ("a*b*c", "acb"),
            ("*b", "abc"),
            ("*xx*x", "xx"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let name = "a".repeat(10_000);
        assert!(!matches(&"*a".repeat(5_000).replace("*a*a", "*aa"), &format!("{name}b")));
        assert!(!matches(&format!("{}b", "*a".repeat(1_000)), &name));
        assert!(matches(&"*a".repeat(1_000), &name));
    }
}
