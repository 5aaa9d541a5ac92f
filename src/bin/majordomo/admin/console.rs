//! The console: one page, assembled at compile time. It requests nothing but itself, the API and the
//! control connection.

use super::response::AdminResponse;

/// The whole page.
const PAGE: &str = concat!(
    include_str!("console/head.html"),
    "<style>\n",
    include_str!("console/style.css"),
    "</style>\n",
    include_str!("console/body.html"),
    // The browser does not run this script: the page starts a worker from its text.
    "<script type=\"text/plain\" id=\"worker-source\">\n",
    include_str!("console/worker.js"),
    "</script>\n<script type=\"module\">\n",
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
);

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
    AdminResponse {
        status,
        content_type: "text/html; charset=utf-8",
        // No other site may embed the page in a frame: a click meant for that site could hit a button
        // of the console.
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
    fn the_page_loads_nothing_from_other_hosts() {
        // The namespace is not requested, and base64url is a function.
        let page = PAGE.replace("http://www.w3.org/2000/svg", "").replace("base64url(", "");
        for sign in ["http://", "https://", "//cdn", "@import", "url("] {
            assert!(!page.contains(sign), "{sign}");
        }
    }

    #[test]
    fn the_parts_form_one_page() {
        for once in ["<!doctype html>", "</head>", "</style>", "</body>", "</html>"] {
            assert_eq!(PAGE.matches(once).count(), 1, "{once}");
        }
        assert_eq!(PAGE.matches("<script").count(), PAGE.matches("</script>").count());
    }
}
