use super::merge_preserving_relative_order;

fn order(lists: &[&str]) -> String {
    let lists: Vec<Vec<&str>> = lists.iter().map(|list| list.split_whitespace().collect()).collect();
    merge_preserving_relative_order(&lists).join(" ")
}

#[test]
fn orders_as_upstream_does() {
    let table: &[(&str, &[&str], &str)] = &[
        ("nothing", &[], ""),
        ("only empty lists", &["", ""], ""),
        ("one list stays", &["c a b"], "c a b"),
        ("an empty list adds nothing", &["", "b a"], "b a"),
        ("agreeing lists interleave", &["a b c d", "a b c d", "a x z d", "z y", "q"], "a b c q x z d y"),
        ("ties go alphabetically at the start", &["b d", "a d"], "a b d"),
        ("ties go alphabetically in the middle", &["a c z", "a b z"], "a b c z"),
        ("the first complete list wins over a contradiction", &["a b", "b a"], "a b"),
        ("also if it is not the first list", &["b d", "d c b"], "d c b"),
        ("a contradiction without a complete list is sorted", &["g3 g1 x", "g1 g3 y"], "g1 g3 x y"),
        ("a circle of three is sorted", &["c a", "a b", "b c"], "a b c"),
        ("a contradiction spoils the order of all names", &["z a b", "b a", "y"], "a b y z"),
        ("priority is lost between lists that share no name", &["z.high m", "a.low m"], "a.low z.high m"),
        (
            "a new name goes between its neighbours",
            &["pods services", "pods new services"],
            "pods new services",
        ),
        ("a name twice in a row is a circle", &["b b", "a"], "a b"),
        ("a complete list with a name twice is no answer", &["b a b"], "a b"),
    ];
    for (claim, lists, expected) in table {
        assert_eq!(order(lists), *expected, "{claim}");
    }
}
