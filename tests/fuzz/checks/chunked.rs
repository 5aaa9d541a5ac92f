//! Chunked bodies: any bytes in any reads, compared with a plain parser of the same body.

use majordomo::codec::http::{BodyReader, RequestError};

use super::stream::{choices, reads};

/// Limits of a body.
const MAXES: [usize; 6] = [1000, 0, 1, 16, 65_536, usize::MAX];

/// The most bytes of extensions and of trailers.
const MAX_EXTENSIONS: usize = 4096;
const MAX_TRAILERS: usize = 8192;

/// The result of a body: its bytes and its length on the wire, if it is complete.
type Outcome = Result<Option<(Vec<u8>, usize)>, RequestError>;

/// The first three bytes select the limit and the lengths of the reads.
pub fn check(data: &[u8]) {
    let Some(([limit, a, b], stream)) = choices(data) else { return };
    let max = MAXES[limit % MAXES.len()];
    let at_once = feed(stream, &[usize::MAX], max);
    assert_eq!(feed(stream, &[a, b], max), at_once, "in reads of {a} and {b}");
    assert_eq!(feed(stream, &[1], max), at_once, "byte by byte");
    match (&at_once, plain(stream, max)) {
        (Ok(found), Ok(expected)) => assert_eq!(*found, expected),
        (Err(_), Err(())) => {}
        (found, expected) => panic!("{found:?}, but {expected:?}"),
    }
}

/// Takes a stream in reads of these lengths, in turn.
fn feed(stream: &[u8], lengths: &[usize], max: usize) -> Outcome {
    let (mut body, mut taken) = (BodyReader::chunked(max), 0);
    for read in reads(stream, lengths) {
        let bound = body.memory_after(read.len());
        let count = body.take(read)?;
        taken += count;
        assert!(body.bytes().len() <= bound && bound <= max);
        if body.is_whole() {
            return Ok(Some((body.bytes().to_vec(), taken)));
        }
        assert_eq!(count, read.len(), "an incomplete body takes all");
    }
    Ok(None)
}

/// The same by a parser that has all of the stream, and does not say what is wrong.
fn plain(stream: &[u8], max: usize) -> Result<Option<(Vec<u8>, usize)>, ()> {
    let (mut data, mut rest, mut extensions) = (Vec::new(), stream, 0);
    loop {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 16 {
            return Err(());
        }
        let Some(next) = rest.get(digits) else { return Ok(None) };
        if digits == 0 {
            return Err(());
        }
        let size = str::from_utf8(&rest[..digits]).expect("digits");
        let size = u64::from_str_radix(size, 16).expect("at most 16 digits");
        let line = &rest[digits..];
        let text = line.iter().take_while(|&&byte| is_text(byte)).count();
        let padding = line.iter().take_while(|byte| b" \t".contains(byte)).count();
        let valid = padding == text || line[padding] == b';';
        extensions += text;
        if (!valid && padding < text) || extensions > MAX_EXTENSIONS {
            return Err(());
        }
        if *next != b'\r' && text == 0 {
            return Err(());
        }
        let Some(end) = line.get(text..) else { return Ok(None) };
        match end {
            // White space that nothing follows.
            [b'\r', ..] if padding == text && text > 0 => return Err(()),
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => {}
            _ => return Err(()),
        }
        rest = &end[2..];
        if size == 0 {
            break;
        }
        let total = u64::try_from(data.len()).expect("64 bits").checked_add(size).ok_or(())?;
        if total > max as u64 {
            return Err(());
        }
        let Some(chunk) = usize::try_from(size).ok().and_then(|size| rest.get(..size)) else {
            return Ok(None);
        };
        data.extend_from_slice(chunk);
        rest = &rest[chunk.len()..];
        match rest {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', after @ ..] => rest = after,
            _ => return Err(()),
        }
    }
    let mut trailers = 0;
    loop {
        match rest {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', after @ ..] => {
                return Ok(Some((data, stream.len() - after.len())));
            }
            [first, ..] if is_token(*first) => {}
            _ => return Err(()),
        }
        let text = rest.iter().take_while(|&&byte| is_text(byte)).count();
        if trailers + text > MAX_TRAILERS {
            return Err(());
        }
        match &rest[text..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', after @ ..] => rest = after,
            _ => return Err(()),
        }
        trailers += text + 1;
        if trailers > MAX_TRAILERS {
            return Err(());
        }
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
