//! The console: one page for operators and newcomers, put together when this is compiled. It asks
//! for nothing but itself, the API and the control link.

use super::response::AdminResponse;

/// The whole page.
const PAGE: &str = concat!(
    include_str!("console/head.html"),
    "<style>\n",
    include_str!("console/style.css"),
    "</style>\n",
    include_str!("console/body.html"),
    // Not run in the page: its text becomes that of a worker.
    "<script type=\"text/plain\" id=\"link-worker\">\n",
    include_str!("console/link.js"),
    "</script>\n<script type=\"module\">\n",
    include_str!("console/words.js"),
    include_str!("console/wire.js"),
    include_str!("console/house.js"),
    include_str!("console/vitals.js"),
    include_str!("console/table.js"),
    include_str!("console/details.js"),
    include_str!("console/tryit.js"),
    include_str!("console/feed.js"),
    include_str!("console/main.js"),
    "</script>\n</body>\n</html>\n",
);

/// What a request for the page is answered.
pub(super) fn answer(method: &str) -> AdminResponse {
    match AdminResponse::check_read_only(method) {
        Ok(()) => page(200),
        Err(refusal) => refusal,
    }
}

/// The same where the guard refuses it: for want of a token, the page comes as well and asks for
/// one.
pub(super) fn sign_in(refusal: AdminResponse) -> AdminResponse {
    if refusal.status != 401 {
        return refusal;
    }
    let mut answer = page(refusal.status);
    answer.headers.extend(refusal.headers);
    answer
}

fn page(status: u16) -> AdminResponse {
    AdminResponse {
        status,
        content_type: "text/html; charset=utf-8",
        // Nobody may show it within a page of their own, where a click that is meant for that page
        // could land on a button of this one.
        headers: vec![
            ("Content-Security-Policy", "frame-ancestors 'none'".to_owned()),
            ("Referrer-Policy", "no-referrer".to_owned()),
        ],
        body: PAGE.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_for_nothing_from_anywhere_else() {
        // Names of namespaces are no addresses, and base64url is no link.
        let page = PAGE.replace("http://www.w3.org/2000/svg", "").replace("base64url(", "");
        for sign in ["http://", "https://", "//cdn", "@import", "url("] {
            assert!(!page.contains(sign), "{sign}");
        }
    }

    #[test]
    fn its_parts_are_one_page() {
        for once in ["<!doctype html>", "</head>", "</style>", "</body>", "</html>"] {
            assert_eq!(PAGE.matches(once).count(), 1, "{once}");
        }
        assert_eq!(PAGE.matches("<script").count(), PAGE.matches("</script>").count());
    }
}
