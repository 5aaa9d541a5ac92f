//! The answer to an upgrade request: 101 (RFC 6455, section 4.2.2).

use super::request::Upgrade;
use super::response::{
    FIXED_PART, FRAMING, HeaderName, HeaderValue, header, header_bytes, invalid_name, put_field,
    put_fields,
};
use crate::error::Error;

/// A header field for [`write_upgrade`], checked when it is made rather than when it is sent.
///
/// # Errors
///
/// [`Error::InvalidResponse`] for a name or a value that HTTP does not allow, and for the fields of
/// the handshake itself: `Upgrade`, `Connection`, every `Sec-WebSocket-` field, and those that
/// frame a message.
pub fn upgrade_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let (name, value) = header(name, value)?;
    check_upgrade_name(&name)?;
    Ok((name, value))
}

/// Appends the answer that opens a session: 101, with the subprotocol that the application chose,
/// if any, and its extra header fields.
///
/// # Errors
///
/// Mistakes of the application, after which nothing was appended: [`Error::SubprotocolNotOffered`]
/// for a subprotocol that is not among the client's (case-sensitive); [`Error::InvalidResponse`]
/// for an extra field as in [`upgrade_header`].
pub fn write_upgrade(
    upgrade: &Upgrade<'_>,
    subprotocol: Option<&str>,
    extra: &[(HeaderName, HeaderValue)],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    if let Some(chosen) = subprotocol
        && !upgrade.subprotocols().any(|offered| offered == chosen)
    {
        return Err(Error::SubprotocolNotOffered { given: chosen.into() });
    }
    extra.iter().try_for_each(|(name, _)| check_upgrade_name(name))?;
    out.reserve(FIXED_PART + subprotocol.map_or(0, str::len) + header_bytes(extra));
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade",
    );
    put_field(out, "Sec-WebSocket-Accept", upgrade.accept_key().as_bytes());
    if let Some(chosen) = subprotocol {
        put_field(out, "Sec-WebSocket-Protocol", chosen.as_bytes());
    }
    put_fields(out, extra);
    out.extend_from_slice(b"\r\n\r\n");
    Ok(())
}

fn check_upgrade_name(name: &HeaderName) -> Result<(), Error> {
    let name = name.as_str();
    if FRAMING.contains(&name) || name == "upgrade" || name.starts_with("sec-websocket-") {
        return Err(invalid_name(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::request::{HeaderSlots, RequestHead, RequestKind};
    use super::*;

    /// The answer to the request of RFC 6455, section 1.2, that offers `chat` and `superchat`.
    fn answer(
        subprotocol: Option<&str>,
        extra: &[(HeaderName, HeaderValue)],
    ) -> Result<String, Error> {
        let head = b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
            Sec-WebSocket-Version: 13\r\n\r\n";
        let mut slots = HeaderSlots::new();
        let request = RequestHead::parse(head, &mut slots).expect("a valid request");
        let Ok(RequestKind::Upgrade(upgrade)) = request.kind() else { panic!("no upgrade") };
        let mut out = b"earlier ".to_vec();
        let written = write_upgrade(&upgrade, subprotocol, extra, &mut out);
        if written.is_err() {
            assert_eq!(out, b"earlier ");
        }
        written.map(|()| String::from_utf8(out).expect("ASCII"))
    }

    #[test]
    fn the_handshake_of_the_rfc_is_answered_as_there() {
        let start = "earlier HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        assert_eq!(answer(None, &[]).unwrap(), format!("{start}\r\n"));
        let extra =
            [upgrade_header("Set-Cookie", "a=b").unwrap(), upgrade_header("X-A", "").unwrap()];
        assert_eq!(
            answer(Some("chat"), &extra).unwrap(),
            format!("{start}Sec-WebSocket-Protocol: chat\r\nset-cookie: a=b\r\nx-a: \r\n\r\n")
        );
    }

    #[test]
    fn a_subprotocol_that_was_not_offered_is_an_error() {
        for chosen in ["other", "Chat", "", "chat, superchat", "chat\r\nx: y"] {
            let error = answer(Some(chosen), &[]).unwrap_err();
            assert!(
                matches!(&error, Error::SubprotocolNotOffered { given } if given == chosen),
                "{error}"
            );
        }
    }

    #[test]
    fn extra_fields_do_not_override_the_handshakes_own() {
        for name in [
            "Upgrade",
            "Connection",
            "Content-Length",
            "Transfer-Encoding",
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
        ] {
            let error = upgrade_header(name, "x").unwrap_err();
            assert!(matches!(error, Error::InvalidResponse { what: "header name", .. }), "{name}");
            let unchecked = header(name, "x").unwrap();
            assert!(answer(None, &[unchecked]).is_err(), "{name}");
        }
    }

    #[test]
    fn an_upgrade_is_written_into_one_allocation() {
        assert!(answer(Some("superchat"), &[]).unwrap().len() <= FIXED_PART + "superchat".len());
    }
}
