//! What clients of a hub miss when its listeners have different framings.

use majordomo::{Framing, ListenUrl, Protocol};

/// Says for each listener of a hub which messages from clients of the others it cannot pass on.
/// `max` is the size of the largest message, in bytes.
pub(crate) fn describe_losses(listeners: &[ListenUrl], max: usize) -> Vec<String> {
    let mut losses = Vec::new();
    for listener in listeners {
        let Protocol::Raw { framing } = listener.protocol() else { continue };
        let lines = is_lines(listener);
        let longest = longest(listener, max);
        let others = || listeners.iter().filter(|other| other.protocol() != listener.protocol());
        let what = if lines && others().any(|other| !is_lines(other)) {
            "messages with a line feed, or with a carriage return at the end".to_owned()
        } else if others().any(|other| self::longest(other, max) > longest) {
            format!("messages of more than {longest} bytes")
        } else {
            continue;
        };
        let framing = framing.name().unwrap_or("custom");
        losses.push(format!(
            "clients of {listener} miss {what}, which clients of other listeners may send: \
             framing {framing} cannot carry them"
        ));
    }
    losses
}

fn is_lines(listener: &ListenUrl) -> bool {
    matches!(listener.protocol(), Protocol::Raw { framing: Framing::Lines })
}

/// The longest message that clients of a listener can send and receive, in bytes.
fn longest(listener: &ListenUrl, max: usize) -> usize {
    let width = match listener.protocol() {
        Protocol::Raw { framing: Framing::LengthPrefix { width, .. } } => width.bytes(),
        Protocol::Raw { framing: Framing::Header { .. } } => 2,
        _ => return max,
    };
    let bits = u32::try_from(width * 8).unwrap_or(u32::MAX);
    1_usize.checked_shl(bits).map_or(max, |end| max.min(end - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(urls: &[&str], max: usize) -> Vec<String> {
        let listeners: Vec<ListenUrl> =
            urls.iter().map(|url| url.parse().expect("a URL")).collect();
        describe_losses(&listeners, max)
    }

    #[test]
    fn a_hub_that_mixes_framings_says_which_clients_miss_what() {
        const WS: &str = "ws://127.0.0.1:1";
        const LINES: &str = "tcp://127.0.0.1:2?framing=lines";
        const U8: &str = "tcp://127.0.0.1:3?framing=u8";
        const HEADER: &str = "tcp://127.0.0.1:4?framing=header";
        const U32: &str = "tcp://127.0.0.1:5?framing=u32";
        assert_eq!(
            losses(&[WS, LINES], 1 << 20),
            [
                "clients of tcp://127.0.0.1:2?framing=lines miss messages with a line feed, or with a \
              carriage return at the end, which clients of other listeners may send: framing lines \
              cannot carry them"
            ]
        );
        assert_eq!(
            losses(&[U8, WS], 1 << 20),
            [
                "clients of tcp://127.0.0.1:3?framing=u8 miss messages of more than 255 bytes, which \
              clients of other listeners may send: framing u8 cannot carry them"
            ]
        );
        assert_eq!(losses(&[U8, HEADER, LINES], 1 << 20).len(), 3);
        assert_eq!(losses(&[HEADER, U32], 65_536).len(), 1);
        assert_eq!(losses(&[HEADER, U32], 65_535), [""; 0], "no message is too long");
        assert_eq!(losses(&[LINES, LINES], 1 << 20), [""; 0]);
        assert_eq!(losses(&[WS, U32], 1 << 20), [""; 0]);
        assert_eq!(losses(&[LINES], 1 << 20), [""; 0]);
    }
}
