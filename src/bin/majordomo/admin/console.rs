//! The console: one page, assembled at compile time. It requests nothing but itself, the API and the
//! control connection.

use std::io;

use data_encoding::BASE64URL_NOPAD;

use super::response::AdminResponse;

/// What comes before and after each nonce of the page.
const PARTS: [&str; 3] = [
    concat!(include_str!("console/head.html"), "<style nonce=\""),
    concat!(
        "\">\n",
        include_str!("console/style.css"),
        "</style>\n",
        include_str!("console/body.html"),
        // The browser does not run this script: the page starts a worker from its text.
        "<script type=\"text/plain\" id=\"worker-source\">\n",
        include_str!("console/worker.js"),
        "</script>\n<script type=\"module\" nonce=\"",
    ),
    concat!(
        "\">\n",
        include_str!("console/dom.js"),
        include_str!("console/format.js"),
        include_str!("console/labels.js"),
        include_str!("console/connection.js"),
        include_str!("console/model.js"),
        include_str!("console/charts.js"),
        include_str!("console/table.js"),
        include_str!("console/details.js"),
        include_str!("console/try.js"),
        include_str!("console/activity.js"),
        include_str!("console/main.js"),
        "</script>\n</body>\n</html>\n",
    ),
];

/// The page.
pub(super) fn page() -> AdminResponse {
    with_status(200)
}

/// Answers a request that the guard refused: if the token is missing or wrong, with the page, which
/// then asks for the token.
pub(super) fn sign_in(refusal: AdminResponse) -> AdminResponse {
    if refusal.status != 401 {
        return refusal;
    }
    let mut answer = with_status(refusal.status);
    answer.headers.extend(refusal.headers);
    answer
}

fn with_status(status: u16) -> AdminResponse {
    let nonce = match nonce() {
        Ok(nonce) => nonce,
        Err(error) => return AdminResponse::error(500, "io_error", &error.to_string()),
    };
    AdminResponse {
        status,
        content_type: "text/html; charset=utf-8",
        headers: vec![
            ("Content-Security-Policy", policy(&nonce)),
            ("Referrer-Policy", "no-referrer".to_owned()),
        ],
        body: PARTS.join(&nonce).into_bytes(),
    }
}

/// A value that is used once and cannot be guessed: 128 bits, as the Content Security Policy asks for
/// (section 7.1), in base64url.
fn nonce() -> io::Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(io::Error::from)?;
    Ok(BASE64URL_NOPAD.encode(&bits))
}

/// What the page may do. Its own style and script run, by their nonce, and a worker that the script
/// starts from a blob. It connects to this server, and over WebSocket to any: clients that are tried
/// out connect to the listeners. No other site may embed the page in a frame: a click meant for that
/// site could hit a button of the console.
fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}' blob:; worker-src blob:; \
         style-src 'nonce-{nonce}'; connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_other_hosts() {
        // The namespace is not requested, and base64url is a function.
        let page =
            PARTS.concat().replace("http://www.w3.org/2000/svg", "").replace("base64url(", "");
        for sign in ["http://", "https://", "//cdn", "@import", "url("] {
            assert!(!page.contains(sign), "{sign}");
        }
    }

    #[test]
    fn the_parts_form_one_page() {
        for once in ["<!doctype html>", "</head>", "</style>", "</body>", "</html>"] {
            assert_eq!(PARTS.concat().matches(once).count(), 1, "{once}");
        }
        let page = PARTS.concat();
        assert_eq!(page.matches("<script").count(), page.matches("</script>").count());
    }

    #[test]
    fn each_page_has_a_nonce_of_its_own_that_its_policy_names() {
        let policy_of = |page: &AdminResponse| page.headers[0].1.clone();
        let (one, other) = (page(), page());
        assert_ne!(policy_of(&one), policy_of(&other));
        for page in [one, other] {
            let (policy, body) = (policy_of(&page), String::from_utf8(page.body).expect("UTF-8"));
            let nonces: Vec<_> = body.split("nonce=\"").skip(1).collect();
            assert_eq!(nonces.len(), 2);
            for nonce in nonces {
                let (nonce, _) = nonce.split_once('"').expect("it ends");
                assert_eq!(policy.matches(&format!("'nonce-{nonce}'")).count(), 2, "{policy}");
            }
            for source in ["script-src", "style-src", "connect-src", "frame-ancestors"] {
                assert!(policy.contains(source), "{policy}");
            }
            assert!(!policy.contains("unsafe"), "{policy}");
        }
        // An attribute would need 'unsafe-inline'.
        let page = PARTS.concat();
        for attribute in [" style=\"", " onclick=", "setAttribute(\"style\""] {
            assert!(!page.contains(attribute), "{attribute}");
        }
    }
}
