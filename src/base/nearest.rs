//! "Did you mean": the nearest of the words that are allowed.

/// Gives the word of `allowed` that `given` was probably meant to be, or none if nothing is near.
/// The limit of a third of the length (at least 1) keeps `web` from being offered for `api`.
pub fn nearest<'a>(given: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A stranger's megabyte is no typing mistake, and the measure is quadratic.
    if given.len() > 100 {
        return None;
    }
    let given = given.to_ascii_lowercase();
    let limit = (given.chars().count() / 3).max(1);
    allowed
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&given, &word.to_ascii_lowercase()), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_nothing() {
        assert_eq!(nearest("helth", ["health", "port"]), Some("health"));
        assert_eq!(nearest("SHPO", ["shop", "blog"]), Some("shop"));
        assert_eq!(nearest("api", ["web", "worker"]), None);
        assert_eq!(nearest(&"a".repeat(5000), ["a"]), None);
    }
}
