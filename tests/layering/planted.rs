//! The checks, checked: each must find what it is there for, and must pass what comes close.

use crate::cycles::{import_cycles, use_cycles};
use crate::layers::layer_violations;
use crate::lints::{
    MAX_LINES, clock_violations, condition_violations, length_violations, token_violations,
};
use crate::methods::{calls, method_cycles};
use crate::names::{Mirror, shared_names};
use crate::sources::{Crate, Source};
use crate::{BINARY, LIBRARY};

fn made_up(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(file, text)| Source::new(file, text)).collect()
}

fn made_up_crate(files: &[(&str, &str)]) -> Crate {
    Crate::new(made_up(files))
}

fn library_layers(files: &[(&str, &str)]) -> Vec<String> {
    layer_violations(&made_up_crate(files), LIBRARY)
}

fn library_cycles(files: &[(&str, &str)]) -> Vec<String> {
    import_cycles(&made_up_crate(files), LIBRARY)
}

#[test]
fn an_import_from_above_is_found_however_it_is_spelled() {
    for import in [
        "use crate::sessions::Sessions;",
        "use crate::{error::Error, sessions::Sessions};",
        "use crate::{error::{self, Error}, sessions::{stats::{self, Stats}}};",
        "use super::sessions;",
        "use super::{error::Error, sessions::{Session, State}};",
        "pub use crate::sessions::Sessions;",
        "pub(crate) use super::sessions::Sessions as Table;",
        "fn f() { use crate::sessions::Sessions; }",
        "fn f() { let _ = Some(crate::sessions::Sessions::default()); }",
        "fn f(_: &crate::sessions::Sessions) {}",
        "impl From<crate::sessions::Sessions> for A {}",
        "fn f() { log::info!(\"{}\", crate::sessions::count()); }",
        "mod inner { use super::super::sessions::Sessions; }",
        "mod inner { mod deep { fn f() { super::super::super::sessions::f() } } }",
        "macro_rules! m { () => { $crate::sessions::new() } }",
        "macro_rules! m { ($a:ident) => { mod $a { use crate::sessions::Sessions; } } }",
        "#[serde(with = \"crate::sessions::duration\")] struct A;",
        "use crate::Sessions;",
        "use super::*;",
        "use crate as root; use root::sessions::Sessions;",
        "use super as root; fn f() { root::sessions::f() }",
        "use super::{self as root}; fn f() { root::sessions::f() }",
        "extern crate self as own; use own::sessions::Sessions;",
        "extern crate self as own; mod inner { fn f() { super::own::sessions::f() } }",
        "use crate::id::SessionId;",
        "use crate::unheard_of::Thing;",
    ] {
        let found = library_layers(&[("src/outbox.rs", import)]);
        assert!(!found.is_empty(), "{import}");
    }
    for import in [
        "use crate::error::Error;",
        "use super::error::{self, Error};",
        "use crate as root; use root::error::Error;",
        "extern crate self as own; use own::error::Error;",
        "extern crate std as sessions; use ::sessions::fmt;",
        "use other::sessions::Sessions;",
        "fn f() { other::sessions::f(); <A as B>::sessions(); }",
        "mod tests { use super::*; }",
        "pub(crate) struct A(pub(super) u8);",
        "#[doc = \"crate::sessions\"] struct A;",
        "/// See [`Sessions`](crate::sessions::Sessions).\nconst PATH: &str = \"crate::sessions\";",
        "// use crate::sessions::Sessions;",
    ] {
        let found = library_layers(&[("src/outbox.rs", import)]);
        assert!(found.is_empty(), "{import}: {found:?}");
    }
}

#[test]
fn an_alias_of_the_crate_in_its_root_counts_everywhere() {
    let root = ("src/lib.rs", "extern crate self as own; mod outbox;");
    for import in [
        "use own::sessions::Sessions;",
        "use ::own::sessions::Sessions;",
        "fn f() { ::own::sessions::f() }",
        "fn f() { return ::own::sessions::f() }",
        "use crate::own::sessions::Sessions;",
        "use own::{error::Error, own::sessions::Sessions};",
        "use own as mine; use mine::sessions::Sessions;",
        "macro_rules! m { () => { ::own::sessions::new() } }",
    ] {
        let found = library_layers(&[root, ("src/outbox.rs", import)]);
        assert_eq!(found.len(), 1, "{import}: {found:?}");
        assert!(found[0].contains("crate::sessions"), "{import}: {found:?}");
        let none = ("src/lib.rs", "extern crate core as own; mod outbox;");
        let found = library_layers(&[none, ("src/outbox.rs", import)]);
        assert!(!found.iter().any(|found| found.contains("sessions is not below")), "{found:?}");
    }
    let below = ("src/outbox.rs", "use own::error::Error; fn f(_: ::own::error::Cause) {}");
    assert_eq!(library_layers(&[root, below]), [""; 0]);
}

#[test]
fn a_directory_has_one_layer_and_lib_rs_has_none() {
    let own = ("src/codec/websocket/mask.rs", "use super::super::event::Event; use crate::id::Id;");
    assert!(library_layers(&[own]).is_empty());
    let above = ("src/codec/websocket/mask.rs", "use super::super::super::transport::Read;");
    assert_eq!(library_layers(&[above]).len(), 1);
    let library = ("src/lib.rs", "pub use crate::manager::SessionManager;");
    assert!(library_layers(&[library]).is_empty());
}

#[test]
fn a_module_without_a_layer_is_to_get_one() {
    let found = library_layers(&[("src/utils.rs", "")]);
    assert!(found[0].contains("add it to the table"), "{found:?}");
}

#[test]
fn the_layers_of_the_binary_point_down() {
    let of = |file: &str, text: &str| {
        let file = format!("src/bin/majordomo/{file}");
        layer_violations(&made_up_crate(&[(&file, text)]), BINARY)
    };
    for (file, text) in [
        ("gateway/figures.rs", "use crate::admin::Answer;"),
        ("gateway/figures.rs", "use super::super::admin::Answer;"),
        ("settings/value.rs", "use crate::backend::Backlog;"),
        ("settings/value.rs", "use crate::backend::protocol::Command;"),
        ("metrics/mod.rs", "use crate::backend::Backlog;"),
        ("backend/protocol/command.rs", "use super::super::Backlog;"),
        ("backend/protocol/command.rs", "use crate::metrics::Counter;"),
        ("backend/mod.rs", "use crate::gateway::Gateway;"),
        ("logging.rs", "use crate::settings::Settings;"),
        ("run.rs", "use crate::FAILURE;"),
    ] {
        assert_eq!(of(file, text).len(), 1, "{file}: {text}");
    }
    for (file, text) in [
        ("main.rs", "mod run; mod admin; fn main() { run::run(admin::open()); }"),
        ("admin/mod.rs", "use crate::gateway::Gateway; use majordomo::Sessions;"),
        ("metrics/mod.rs", "use crate::backend::protocol::Command; use ::majordomo::handle::X;"),
        ("backend/stdio/input.rs", "use super::super::Incoming; use crate::metrics::Counter;"),
        ("backend/protocol/command.rs", "use super::fields; use majordomo::sessions::Stop;"),
        ("backend/mod.rs", "mod protocol; pub(crate) use self::protocol::Command;"),
    ] {
        assert_eq!(of(file, text), [""; 0], "{file}: {text}");
    }
}

#[test]
fn a_cycle_is_found_also_behind_a_reexport() {
    let facade = ("src/codec/mod.rs", "mod a; mod b; pub use a::A; pub enum Codec { B(b::B) }");
    let b = ("src/codec/b.rs", "use super::A; use super::Codec; pub struct B(A);");
    let straight = ("src/codec/a.rs", "use crate::id::SessionId; use super::Codec; pub struct A;");
    assert!(library_cycles(&[facade, straight, b]).is_empty());
    for back in [
        "fn f(_: super::b::B) {}",
        "use super::{b::{self, B}};",
        "use crate::codec::b::B;",
        "use super as parent; fn f() { parent::b::f() }",
        "extern crate self as own; use own::codec::b::B;",
    ] {
        let found = library_cycles(&[facade, ("src/codec/a.rs", back), b]);
        assert_eq!(found.len(), 1, "{back}");
        assert!(found[0].contains("codec::a -> codec::b -> codec::a"), "{found:?}");
    }
    let deep = ("src/codec/a/deep.rs", "use crate::codec::b::B;");
    assert_eq!(library_cycles(&[facade, straight, deep, b]).len(), 1);
    for facade in [
        "mod a; mod b; pub use a::A as Renamed;",
        "mod a; mod b; pub use a::{A as Renamed};",
        "mod a; mod b; pub use self::a::*;",
        "mod a; mod b; pub mod prelude { pub use super::a::A; }",
    ] {
        let facade = ("src/codec/mod.rs", facade);
        let a = ("src/codec/a.rs", "use super::b::B; pub struct A; pub struct Renamed;");
        let b = ("src/codec/b.rs", "use super::Renamed; use super::prelude::A; pub struct B;");
        assert_eq!(library_cycles(&[facade, a, b]).len(), 1, "{facade:?}");
    }
}

#[test]
fn a_cycle_of_three_and_one_in_a_nested_directory_are_found() {
    let a = ("src/codec/http/head.rs", "use super::body::Body;");
    let b = ("src/codec/http/body.rs", "use super::upgrade::Upgrade;");
    let c = ("src/codec/http/upgrade.rs", "use super::head::Head;");
    let found = library_cycles(&[a, b, c]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("codec::http::body -> codec::http::upgrade"), "{found:?}");
    let c = ("src/codec/http/upgrade.rs", "use crate::codec::framing::lines::Lines;");
    assert!(library_cycles(&[a, b, c]).is_empty());
    let out = ("src/codec/framing/lines.rs", "use crate::codec::http::head::Head;");
    let found = library_cycles(&[a, b, c, out]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("codec::framing -> codec::http -> codec::framing"), "{found:?}");
}

#[test]
fn the_protocol_stands_beside_the_backend_in_the_binary() {
    let of = |files: &[(&str, &str)]| import_cycles(&made_up_crate(files), BINARY);
    let backend =
        ("src/bin/majordomo/backend/mod.rs", "mod protocol; use crate::metrics::Counter;");
    let metrics = ("src/bin/majordomo/metrics.rs", "use crate::backend::protocol::Cause;");
    let protocol = ("src/bin/majordomo/backend/protocol/mod.rs", "pub enum Cause {}");
    assert_eq!(of(&[backend, metrics, protocol]), [""; 0]);
    let back = ("src/bin/majordomo/backend/protocol/mod.rs", "use crate::metrics::Counter;");
    assert_eq!(of(&[backend, metrics, back]).len(), 1);
    let up = ("src/bin/majordomo/backend/protocol/event.rs", "use super::super::backlog::Backlog;");
    let down = ("src/bin/majordomo/backend/backlog.rs", "use super::protocol::event::Event;");
    assert_eq!(of(&[backend, protocol, up, down]).len(), 1);
    assert!(of(&[backend, protocol, down]).is_empty());
    let admin = ("src/bin/majordomo/admin/server.rs", "use crate::gateway::figures::F;");
    let gateway = ("src/bin/majordomo/gateway/figures.rs", "fn f(_: &crate::admin::server::A) {}");
    assert_eq!(of(&[admin, gateway]).len(), 1);
}

/// A type whose methods stand in three files: `begin` in `a.rs`, `proceed` in `b.rs`, `find` in
/// the file that has the type.
fn three_files(a: &str, b: &str) -> Crate {
    let root = "mod a; mod b; pub struct Table { queue: queue::Queue, spare: Box<queue::Queue> }
        mod queue { pub struct Queue { table: Option<super::Table> } impl Queue { pub fn push() {} } }
        impl Table { fn find(&self) {} }";
    let a = format!("use super::Table; impl Table {{ pub fn begin(&mut self) {{ {a} }} }}");
    let b = format!("use super::Table; impl Table {{ pub fn proceed(&mut self) {{ {b} }} }}");
    made_up_crate(&[
        ("src/sessions/mod.rs", root),
        ("src/sessions/a.rs", &a),
        ("src/sessions/b.rs", &b),
    ])
}

#[test]
fn a_cycle_of_method_calls_is_found_however_they_are_spelled() {
    for back in [
        "self.begin()",
        "self.begin::<u8>()",
        "if self.idle { let x = Some(1).map(|_| self.begin()); }",
        "log::info!(\"{:?}\", self.begin());",
        "Self::begin(self)",
        "Table::begin(self)",
        "super::Table::begin(self)",
        "crate::sessions::Table::begin(self)",
        "let f = Self::begin;",
        "let table = &mut self; } fn g(table: &mut Table) { table.begin()",
        "} fn g<F: Fn(u8) -> u8>(f: F, table: &mut super::Table) { table.begin()",
        "} } struct Holder<'a> { table: &'a mut Table } impl A { fn g(a: &Holder) { a.table.begin()",
        "let Self { find, .. } = self; self.begin()",
    ] {
        let found = method_cycles(&three_files("self.proceed()", back));
        assert_eq!(found.len(), 1, "{back}");
        assert!(found[0].contains("begin calls self.proceed()"), "{found:?}");
        assert!(found[0].contains("a.rs -> src/sessions/b.rs -> src/sessions/a.rs"), "{found:?}");
    }
    for near in [
        "self.find()",
        "self.proceed()",
        "other.begin()",
        "begin()",
        "self.begin",
        "self.queue.begin()",
        "self.unknown.begin()",
        "self.queue.table.begin()",
        "Other::begin(self)",
        "other::Table::begin(self)",
        "// self.begin()\n",
        "f(\"self.begin()\")",
        "} #[cfg(test)] fn g(&mut self) { self.begin()",
    ] {
        let found = method_cycles(&three_files("self.proceed()", near));
        assert_eq!(found, [""; 0], "{near}");
    }
}

#[test]
fn the_file_that_has_the_type_may_be_on_a_cycle_of_methods() {
    let root = ("src/sessions/mod.rs", "mod a; pub struct T; impl T { fn f(&self) { self.g() } }");
    let a = ("src/sessions/a.rs", "impl super::T { pub fn g(&self) { self.f() } }");
    assert_eq!(method_cycles(&made_up_crate(&[root, a])).len(), 1);
    let a = ("src/sessions/a.rs", "impl super::T { pub fn g(&self) {} }");
    assert!(method_cycles(&made_up_crate(&[root, a])).is_empty());
    // A trait's implementation calls as well, and a type is found behind a reexport.
    let a = "use crate::sessions::U; impl U { pub fn g(&self) {} }
        impl Drop for U { fn drop(&mut self) { self.f() } }";
    let a = ("src/sessions/a.rs", a);
    let root = "mod a; mod b; pub use b::U; impl U { fn f(&self) { self.g() } }";
    let root = ("src/sessions/mod.rs", root);
    let b = ("src/sessions/b.rs", "pub struct U;");
    assert_eq!(method_cycles(&made_up_crate(&[root, a, b])).len(), 1);
    // Another type with methods of the same names is another type.
    let a = "pub struct V; impl V { pub fn g(&self) {} }
        impl Drop for V { fn drop(&mut self) { self.f() } }";
    assert!(method_cycles(&made_up_crate(&[root, ("src/sessions/a.rs", a), b])).is_empty());
}

#[test]
fn a_method_call_through_a_field_counts_as_an_import() {
    let of = |table: &str, queue: &str| {
        let root = "mod table; mod queue; pub struct Sessions { queue: queue::Queue }";
        let of = made_up_crate(&[
            ("src/sessions/mod.rs", root),
            ("src/sessions/table.rs", table),
            ("src/sessions/queue.rs", queue),
        ]);
        assert!(import_cycles(&of, LIBRARY).is_empty(), "{table} {queue}");
        use_cycles(&of, LIBRARY, &calls(&of))
    };
    let queue = "use super::table::Table; pub struct Queue; impl Queue { pub fn push(&self) {} }";
    for body in [
        "self.queue.push()",
        "let queue = &self.queue; queue.push()",
        "let queue = &mut self.queue; queue.push()",
        "let Self { queue, .. } = self; queue.push()",
        "let Self { queue: q, .. } = self; q.push()",
        "let Self { ref mut queue } = self; f(|| queue.push())",
    ] {
        let table = format!("impl super::Sessions {{ fn find(&mut self) {{ {body} }} }}");
        let found = of(&table, queue);
        assert_eq!(found.len(), 1, "{body}");
        assert!(found[0].contains("find calls "), "{found:?}");
        assert!(of(&table, "pub struct Queue; impl Queue { pub fn push(&self) {} }").is_empty());
    }
    for body in [
        "self.queue.pop()",
        "self.other.push()",
        "let queue = Vec::new(); queue.push()",
        "let queue = &self.queue; let queue = f(queue); queue.push()",
    ] {
        let table = format!("impl super::Sessions {{ fn find(&mut self) {{ {body} }} }}");
        assert_eq!(of(&table, queue), [""; 0], "{body}");
    }
}

#[test]
fn types_that_share_a_name_are_found_in_library_and_binary() {
    let of = |library: &str, binary: &str| {
        let library = made_up_crate(&[("src/id.rs", library)]);
        let binary = made_up_crate(&[("src/bin/majordomo/run.rs", binary)]);
        shared_names(&[&library, &binary], &[])
    };
    for kind in [
        "struct Frame;",
        "pub struct Frame<T>(T);",
        "pub(crate) enum Frame {}",
        "union Frame { a: u8 }",
        "trait Frame {}",
        "type Frame = u8;",
        "mod inner { struct Frame; }",
        "fn f() { struct Frame; }",
        "fn f() { type Frame = u8; }",
        "impl A { fn f() { type Frame = u8; } }",
        "impl A {} type Frame = u8;",
        "fn f() -> impl Fn() { type Frame = u8; }",
        "thread_local! { static A: u8 = { struct Frame; 0 } }",
        "#[cfg(unix)] mod inner { struct Frame; }",
        "#[cfg(not(test))] mod inner { struct Frame; }",
        "#[cfg(test)] use a::B; mod inner { struct Frame; }",
    ] {
        let found = of("/// struct Frame\nstruct Frame;", kind);
        let places = "Frame: src/id.rs:2, src/bin/majordomo/run.rs:1";
        assert_eq!(found, [places], "{kind}");
    }
    for near in [
        "struct Frames;",
        "fn frame() {}",
        "impl A for B { type Frame = u8; }",
        "impl<T> A for B<T> where T: C { type Frame = u8; fn f() {} }",
        "pub trait A: B { type Frame: Copy; }",
        "#[cfg(test)] mod tests { struct Frame; }",
        "#[cfg(test)] #[allow(dead_code)] pub(crate) mod tests { struct Frame; }",
        "use crate::id::Frame; impl Frame { const A: Frame = Frame; }",
        "use a::B as Frame;",
        "macro_rules! m { ($name:ident) => { struct $name; } }",
        "// struct Frame;\nconst A: &str = \"struct Frame;\";",
    ] {
        assert_eq!(of("struct Frame;", near), [""; 0], "{near}");
    }
    assert_eq!(of("struct Frame; mod a { enum Frame {} }", "").len(), 1);
    let parent = ("src/codec/mod.rs", "struct Frame; #[cfg(test)] mod tests;");
    let fixture = ("src/codec/tests.rs", "struct Frame;");
    assert_eq!(shared_names(&[&made_up_crate(&[parent, fixture])], &[]), [""; 0]);
    let parent = ("src/codec/mod.rs", "struct Frame; mod tests;");
    assert_eq!(shared_names(&[&made_up_crate(&[parent, fixture])], &[]).len(), 1);
}

#[test]
fn a_name_is_shared_only_by_a_type_of_the_protocol_and_what_it_mirrors() {
    const MIRROR: Mirror = Mirror { name: "Stop", reason: "the command's name" };
    let of = |library: &str, file: &str, mirrors: &[Mirror]| {
        let library = made_up_crate(&[("src/id.rs", library)]);
        let binary = made_up_crate(&[(file, "pub struct Stop;")]);
        shared_names(&[&library, &binary], mirrors)
    };
    let protocol = "src/bin/majordomo/backend/protocol/command.rs";
    assert_eq!(of("struct Stop;", protocol, &[MIRROR]), [""; 0]);
    assert_eq!(of("struct Stop;", protocol, &[]).len(), 1);
    assert_eq!(of("struct Stop;", "src/bin/majordomo/admin/body.rs", &[MIRROR]).len(), 1);
    assert_eq!(of("struct Stop; mod a { struct Stop; }", protocol, &[MIRROR]).len(), 1);
    assert_eq!(of("", protocol, &[MIRROR]).len(), 1, "it is not needed");
    let without_reason = Mirror { name: "Stop", reason: "" };
    assert_eq!(of("struct Stop;", protocol, &[without_reason]).len(), 1);
    let four = [MIRROR, MIRROR, MIRROR, MIRROR];
    assert_eq!(of("struct Stop;", protocol, &four), ["4 exceptions, over 3"]);
}

#[test]
fn a_clock_is_found_outside_of_tests() {
    let read = "fn f() { g(std::time::Instant::now) } mod tests {}";
    let tested = "fn f(now: Instant) {} mod tests { fn f() { Instant::now(); } }";
    let hidden = "fn f(then: Instant) { then.elapsed(); }";
    assert_eq!(clock_violations(&made_up(&[("src/tick.rs", read)])).len(), 1);
    assert_eq!(clock_violations(&made_up(&[("src/tick.rs", hidden)])).len(), 1);
    assert_eq!(clock_violations(&made_up(&[("src/testing/mod.rs", read)])).len(), 1);
    assert!(clock_violations(&made_up(&[("src/tick.rs", tested)])).is_empty());
    assert!(clock_violations(&made_up(&[("src/manager/run.rs", read)])).is_empty());
    assert!(clock_violations(&made_up(&[("src/bin/majordomo/main.rs", read)])).is_empty());
}

#[test]
fn length_unsafe_and_borrowed_files_are_found() {
    let lines = |count| made_up(&[("src/id.rs", &"\n".repeat(count))]);
    assert_eq!(length_violations(&lines(MAX_LINES + 1)).len(), 1);
    assert!(length_violations(&lines(MAX_LINES)).is_empty());
    for text in ["fn f() { unsafe { g() } }", "#[path = \"../id.rs\"] mod id;", "include!(\"a\");"]
    {
        assert_eq!(token_violations(&made_up(&[("src/bin/a.rs", text)])).len(), 1, "{text}");
    }
    assert!(token_violations(&made_up(&[("src/id.rs", "#![forbid(unsafe_code)]")])).is_empty());
}

#[test]
fn code_for_a_feature_or_a_flag_is_found() {
    for text in [
        "#[cfg(feature = \"simulation\")] mod a;",
        "#[cfg(all(unix, not(feature = \"simulation\")))] mod a;",
        "#[cfg_attr(feature = \"serde\", derive(Serialize))] struct A;",
        "fn f() { if cfg!(simulation) {} }",
        "#![cfg(fuzzing)]",
        "fn f() { #[cfg(debug_assertions)] g(); }",
    ] {
        assert_eq!(condition_violations(&made_up(&[("src/id.rs", text)])).len(), 1, "{text}");
    }
    for text in [
        "#[cfg(test)] mod tests;",
        "#[cfg(all(unix, not(target_os = \"linux\")))] fn f() {}",
        "#[cfg_attr(windows, expect(dead_code))] fn f() {}",
        "const A: bool = cfg!(any(unix, windows));",
        "fn f(feature: u8) { g(feature, simulation) }",
    ] {
        let found = condition_violations(&made_up(&[("src/id.rs", text)]));
        assert_eq!(found, [""; 0], "{text}");
    }
}
