//! What somebody may have meant who wrote a name that does not exist.

/// The `count` names that are most like `asked`, the nearest first.
pub(crate) fn nearest<'a>(asked: &str, known: impl Iterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    // Half a name is nearer than as many letters of another.
    let distance = |name: &str| match name.contains(asked) || asked.contains(name) {
        true => 1,
        false => edits(asked, name),
    };
    let mut ranked: Vec<(usize, &str)> = known.map(|name| (distance(name), name)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(count).map(|(_, name)| name).collect()
}

/// How many letters have to be put in, left out or replaced to make one word of the other (Levenshtein).
fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (above, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for (at, b) in other.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        assert_eq!((edits("kitten", "sitting"), edits("", "abc"), edits("abc", "abc")), (3, 3, 0));
        let known = ["vote-before-sync", "ack-before-sync", "recycle-early", "vote-forgotten"];
        assert_eq!(nearest("ack-befor-sync", known.into_iter(), 2), ["ack-before-sync", "vote-before-sync"]);
        assert_eq!(nearest("recycle", known.into_iter(), 1), ["recycle-early"]);
    }
}
