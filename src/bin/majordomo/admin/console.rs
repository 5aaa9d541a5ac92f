//! The console: one page for operators and newcomers, put together when this is compiled. It asks
//! for nothing but itself, the API and the control link.

/// The whole page. Where a token is asked for, the same page is the body of the 401: it signs in.
pub(crate) const PAGE: &str = concat!(
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

/// What the response says of it. Nobody may show it within a page of their own, where a click
/// that is meant for that page could land on a button of this one.
pub(crate) const HEADERS: [(&str, &str); 5] = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
];
