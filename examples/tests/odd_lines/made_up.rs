use losertree_testkit::Random;

/// A text that may or may not be well-formed.
pub(crate) fn made_up(near: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    if random.chance(0.3) { changed(near, random) } else { composed(random) }
}

/// A text that is near to one of those: a few bytes are taken away, put in or changed.
fn changed(texts: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const BYTES: &[u8] = b" \t\n\r\0\"\\{},=#:_anN1.+-eE%\xC3\xA9\xFF";
    let mut text = random.pick(texts).unwrap().clone();
    for _ in 0..=random.below(2) {
        let at = random.below(text.len() + 1);
        let byte = *random.pick(BYTES).unwrap();
        match random.below(3) {
            0 if at < text.len() => drop(text.remove(at)),
            1 if at < text.len() => text[at] = byte,
            _ => text.insert(at, byte),
        }
    }
    text
}

/// A text that is put together from pieces, most of which are in order.
fn composed(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    let mut piece = |usual: &[&'static str], odd: &[&'static str], random: &mut Random| {
        let pieces = if random.chance(0.02) { odd } else { usual };
        let piece = *random.pick(pieces).unwrap();
        text.extend_from_slice(piece.as_bytes());
        piece
    };
    let blank = ["", "", " ", "\t"];
    for _ in 0..=random.below(3) {
        if random.chance(0.2) {
            let usual = ["#", "# x", "# HELP a x", "# TYPE a gauge", "", " "];
            piece(&usual, &["# TYPE a x", "#\0", "# HELP\0 a\0", "# HELP a \u{e9}"], random);
            piece(&["\n"], &["\r\n", "\0\n"], random);
            continue;
        }
        piece(&["a", "b", "a:b", "_c1"], &["", " a", "1", "\u{e9}", "\0"], random);
        piece(&blank, &["\r", "\0", "\n"], random);
        if random.chance(0.8) {
            piece(&["{"], &["", "{{", "{,", "(", "{\""], random);
            for _ in 0..random.below(4) {
                piece(&blank, &["\n", "\0"], random);
                piece(&["b", "c", "d", "_", "e"], &["a:b", "1", "", "__name__", "\"b\""], random);
                piece(&blank, &["\n", "\0"], random);
                piece(&["="], &["", "==", "=~", ":"], random);
                piece(&blank, &["\n", "\0", " \0"], random);
                piece(&["\""], &["", "'", "\"\""], random);
                for _ in 0..random.below(4) {
                    let usual =
                        ["x", "\\n", "\\\\", "\\\"", "\n", "\r", "\\A", "\0", "{", "#", "\u{e9}", " ", ","];
                    piece(&usual, &["\\", "\\\n", "\""], random);
                }
                piece(&["\""], &["", "\"\0", "'"], random);
                piece(&blank, &["\0", "\n"], random);
                piece(&["", ",", ",", ", "], &[",,", ";", "\n"], random);
            }
            piece(&["}"], &["", "}}", "},"], random);
        }
        piece(&[" ", " ", "\t", "  "], &["", "\0", "\r"], random);
        let usual = ["1", "-0", ".5", "1e5", "NaN", "+Inf", "00", "5e-324", "0.1"];
        piece(&usual, &["", "-nan", "0x1p1", "1_0", "1e999", "x", "1\0"], random);
        if random.chance(0.2) {
            piece(&[" ", "\t"], &["", "\r"], random);
            piece(&["0", "1", "1700000000000"], &["-1", "1.5", "9223372036854775808", "#"], random);
        }
        piece(&blank, &["\r", " #", "\0"], random);
        piece(&["\n"], &["", "\r\n", "\n\0", " \n"], random);
    }
    text
}
