//! Markdown, as far as the documents use it.

use std::fs;
use std::path::Path;

/// A document, by its path from the root.
pub(crate) struct Document {
    pub(crate) file: String,
    pub(crate) text: String,
}

/// A fenced block of code.
pub(crate) struct Block<'a> {
    pub(crate) language: &'a str,
    pub(crate) text: String,
}

impl Block<'_> {
    /// Its lines, except empty ones and comments.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
    }
}

/// All documents.
pub(crate) fn documents() -> Vec<Document> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["", "docs/"] {
        for entry in fs::read_dir(root.join(directory)).expect("it is readable") {
            let name = entry.expect("it is readable").file_name();
            let name = name.to_str().expect("file names are UTF-8");
            if Path::new(name).extension().is_some_and(|extension| extension == "md") {
                files.push(format!("{directory}{name}"));
            }
        }
    }
    files.sort();
    for file in ["README.md", "ARCHITECTURE.md", "docs/protocol.md", "docs/configuration.md"] {
        assert!(files.iter().any(|found| found == file), "{file} is missing");
    }
    files.iter().map(|file| read(file)).collect()
}

pub(crate) fn read(file: &str) -> Document {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
    Document { file: file.to_owned(), text }
}

impl Document {
    /// Whether its snippets need servers of other projects: `.ci/run` runs them.
    pub(crate) fn is_run_elsewhere(&self) -> bool {
        self.file == "docs/operations.md"
    }

    /// Its blocks of code.
    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block<'_>> = None;
        for line in self.text.lines() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(language), None) => open = Some(Block { language, text: String::new() }),
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => block.text.extend([line, "\n"]),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: the last block has no end", self.file);
        blocks
    }

    /// Its text without blocks of code.
    fn prose(&self) -> String {
        let mut is_code = false;
        let lines = self.text.lines().filter(|line| {
            let is_fence = line.starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The pieces of code within its text.
    pub(crate) fn code_spans(&self) -> Vec<String> {
        let prose = self.prose();
        prose.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " ")).collect()
    }

    /// The targets of its links and pictures.
    pub(crate) fn links(&self) -> Vec<String> {
        let prose = self.prose();
        // A link within code is none. The text of a link may be code.
        let text: Vec<_> = prose.split('`').enumerate().collect();
        let text: String = text
            .iter()
            .map(|(at, part)| if at % 2 == 0 { (*part).to_owned() } else { "x".to_owned() })
            .collect();
        let targets = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or(rest));
        targets.map(str::to_owned).collect()
    }
}

/// The anchors of a document's headings, as GitHub makes them.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let document = Document { file: String::new(), text: text.to_owned() };
    let prose = document.prose();
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}
