//! One setting: what a row of the table has, and how it reaches its field.

use super::format::{self, ValueFormat};
use super::model::Settings;
use super::value::ParseResult;

/// One setting.
pub(crate) struct Setting {
    /// The flag without its dashes, which is also the key in the file.
    pub(crate) name: &'static str,
    /// The heading under which it is listed.
    pub(crate) group: &'static str,
    /// What stands for the value in the help.
    pub(crate) placeholder: &'static str,
    /// A value that is not the default.
    pub(crate) example: &'static str,
    /// What it does.
    pub(crate) help: &'static str,
    /// What happens to a client that exceeds it.
    pub(crate) beyond: Option<&'static str>,
    /// The range of values; none if `placeholder` lists all values.
    pub(crate) allowed: Option<&'static str>,
    /// Values that have a new name: the former name, which is still accepted, and the new one.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
    /// The field that it sets.
    pub(crate) binding: &'static dyn Binding,
}

/// The field of [`Settings`] that a row sets, and the format of its value.
pub(crate) trait Binding: Sync {
    /// Sets the field; an error leaves it as it was. There is at least one text.
    fn set(&self, settings: &mut Settings, texts: &[&str]) -> ParseResult<()>;

    /// What the field holds, as text; none if it holds nothing.
    fn text(&self, settings: &mut Settings) -> Option<String>;

    /// How many values it takes.
    fn arity(&self) -> Arity;
}

/// How many values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arity {
    /// One value; if it is given more than once, the last one counts.
    One,
    /// One or more: the flag may be repeated, the variable has commas, the file an array.
    List,
    /// `true` or `false`; the flag alone means `true`.
    Switch,
}

/// Gives the field that a row sets.
pub(crate) type Field<T> = fn(&mut Settings) -> &mut T;

/// A field with one value.
pub(crate) struct One<T: 'static>(pub(crate) Field<T>, pub(crate) ValueFormat<T>);

/// A field with a list of values.
pub(crate) struct List<T: 'static>(pub(crate) Field<Vec<T>>, pub(crate) ValueFormat<T>);

/// A field that is on or off.
pub(crate) struct Switch(pub(crate) Field<bool>);

impl<T> Binding for One<T> {
    fn set(&self, settings: &mut Settings, texts: &[&str]) -> ParseResult<()> {
        let last = texts.last().expect("there is at least one text");
        *(self.0)(settings) = (self.1.parse)(last)?;
        Ok(())
    }

    fn text(&self, settings: &mut Settings) -> Option<String> {
        (self.1.write)((self.0)(settings))
    }

    fn arity(&self) -> Arity {
        Arity::One
    }
}

impl<T> Binding for List<T> {
    fn set(&self, settings: &mut Settings, texts: &[&str]) -> ParseResult<()> {
        *(self.0)(settings) =
            texts.iter().map(|text| (self.1.parse)(text)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn text(&self, settings: &mut Settings) -> Option<String> {
        let texts: Vec<_> = (self.0)(settings).iter().filter_map(self.1.write).collect();
        (!texts.is_empty()).then(|| texts.join(","))
    }

    fn arity(&self) -> Arity {
        Arity::List
    }
}

impl Binding for Switch {
    fn set(&self, settings: &mut Settings, texts: &[&str]) -> ParseResult<()> {
        One(self.0, format::SWITCH).set(settings, texts)
    }

    fn text(&self, settings: &mut Settings) -> Option<String> {
        One(self.0, format::SWITCH).text(settings)
    }

    fn arity(&self) -> Arity {
        Arity::Switch
    }
}

impl Setting {
    /// The name of its environment variable.
    pub(crate) fn variable(&self) -> String {
        variable(self.name)
    }

    /// Sets the field; an error leaves it as it was.
    pub(crate) fn apply(&self, settings: &mut Settings, texts: &[&str]) -> ParseResult<()> {
        if texts.is_empty() {
            return Err("an empty list: give at least one value, or leave it out".to_owned());
        }
        self.binding.set(settings, texts)
    }

    /// The value under the name that it has today.
    pub(crate) fn current_name<'a>(&self, value: &'a str) -> &'a str {
        self.renamed.iter().find(|(former, _)| *former == value).map_or(value, |(_, new)| new)
    }

    /// The default as text, if there is one.
    pub(crate) fn default_text(&self) -> Option<String> {
        self.binding.text(&mut Settings::default())
    }

    /// Which values are allowed.
    pub(crate) fn allowed_text(&self) -> String {
        let choices = || self.placeholder.replace('|', ", ");
        self.allowed.map_or_else(choices, str::to_owned)
    }

    /// The flag as the help shows it, with what stands for its value.
    pub(crate) fn flag(&self) -> String {
        let Self { name, placeholder, .. } = self;
        if self.is_switch() {
            format!("--{name}[=<{placeholder}>]")
        } else {
            format!("--{name} <{placeholder}>")
        }
    }

    /// What it does, and what happens beyond the limit.
    pub(crate) fn full_help(&self) -> String {
        self.beyond.map_or_else(|| self.help.to_owned(), |beyond| format!("{} {beyond}", self.help))
    }

    /// The types of its value in the file, for an error.
    pub(crate) fn file_types(&self) -> &'static str {
        let is_number =
            |choice: &str| matches!(choice, "N" | "SIZE") || choice.parse::<u16>().is_ok();
        match self.binding.arity() {
            Arity::List => "a string or an array of them",
            Arity::Switch => "a string or a boolean",
            Arity::One if self.placeholder.split('|').any(is_number) => "a string or an integer",
            Arity::One => "a string",
        }
    }

    /// Whether it takes more than one value.
    pub(crate) fn is_list(&self) -> bool {
        self.binding.arity() == Arity::List
    }

    /// Whether its flag needs no value.
    pub(crate) fn is_switch(&self) -> bool {
        self.binding.arity() == Arity::Switch
    }
}

/// How the names of the environment variables begin.
pub(crate) const VARIABLE_PREFIX: &str = "MAJORDOMO_";

/// The environment variable of a flag.
pub(crate) fn variable(flag: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", flag.to_ascii_uppercase().replace('-', "_"))
}
