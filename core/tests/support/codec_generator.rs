//! Turns `core/src/kafka/schema.txt` into Rust: the message types with their reading and writing, the list of APIs, and the
//! drawing of random messages for tests. Promises the same bytes for the same schema, in the form rustfmt leaves alone.
//!
//! Run by `cargo run -p tidelog-core --example generate_codec`, and checked by `codec_generated_is_current.rs`.

use std::fmt::Write as _;

/// Where generated files and their schema are, from the directory of the crate.
pub(crate) const SCHEMA: &str = "src/kafka/schema.txt";

const NOTE: &str =
    "Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.";

/// An inclusive range of versions.
type Versions = (i16, i16);
const ALL: Versions = (i16::MIN, i16::MAX);

struct Api {
    name: String,
    key: i16,
    advertised: Versions,
    served: Versions,
    flexible: i16,
    structs: Vec<Struct>,
}

struct Struct {
    name: String,
    doc: String,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    kind: String,
    present: Versions,
    nullable: Option<Versions>,
    tag: Option<u32>,
    default: Option<String>,
    doc: String,
}

/// The files made of a schema: paths from the directory of the crate, and texts.
pub(crate) fn generate(schema: &str) -> Vec<(String, String)> {
    let apis = parse(schema);
    let mut files = vec![
        ("src/kafka/api.rs".to_owned(), api_file(&apis)),
        ("src/kafka/messages/mod.rs".to_owned(), mod_file(&apis)),
        ("tests/support/draw_messages.rs".to_owned(), draw_file(&apis)),
    ];
    for api in &apis {
        files.push((format!("src/kafka/messages/{}.rs", snake(&api.name)), message_file(api)));
    }
    files
}

// Reading the schema.

fn parse(schema: &str) -> Vec<Api> {
    let mut apis: Vec<Api> = Vec::new();
    for line in schema.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (facts, doc) = line.split_once(" ; ").unwrap_or((line, ""));
        let words: Vec<&str> = facts.split_whitespace().collect();
        match words.as_slice() {
            ["api", name, facts @ ..] => apis.push(api(name, facts)),
            ["struct", name] => {
                let api = apis.last_mut().expect("a struct belongs to an api");
                api.structs.push(Struct { name: (*name).to_owned(), doc: doc.to_owned(), fields: Vec::new() });
            }
            [name, kind, present, null, tag, default] => {
                let field = Field {
                    name: (*name).to_owned(),
                    kind: (*kind).to_owned(),
                    present: versions(present),
                    nullable: given(null).map(versions),
                    tag: given(tag).map(|tag| tag.parse().expect("a tag is a number")),
                    default: given(default).map(str::to_owned),
                    doc: doc.to_owned(),
                };
                let owner =
                    apis.last_mut().and_then(|api| api.structs.last_mut()).expect("a field belongs to a struct");
                assert!(
                    field.tag.is_some() || owner.fields.last().is_none_or(|last| last.tag.is_none()),
                    "tagged fields come last: {line}"
                );
                owner.fields.push(field);
            }
            _ => panic!("not a line of a schema: {line}"),
        }
    }
    apis
}

fn api(name: &str, facts: &[&str]) -> Api {
    let fact = |key: &str| {
        let found = facts.iter().find_map(|fact| fact.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("api {name} lacks {key}"))
    };
    Api {
        name: name.to_owned(),
        key: fact("key").parse().expect("a key is a number"),
        advertised: versions(fact("advertised")),
        served: versions(fact("served")),
        flexible: fact("flexible").parse().expect("a version is a number"),
        structs: Vec::new(),
    }
}

fn given(word: &str) -> Option<&str> {
    (word != "-").then_some(word)
}

fn versions(word: &str) -> Versions {
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("not a range of versions: {word}"));
    match (word, word.strip_suffix('+'), word.split_once('-')) {
        ("*", _, _) => ALL,
        (_, Some(from), _) => (number(from), i16::MAX),
        (_, None, Some((from, to))) => (number(from), number(to)),
        (_, None, None) => panic!("not a range of versions: {word}"),
    }
}

// Facts about a field.

impl Field {
    fn element(&self) -> Option<&str> {
        self.kind.strip_prefix("[]")
    }

    fn rust(&self) -> String {
        let plain = match self.element() {
            Some(element) => format!("Vec<{}>", scalar(element)),
            None => scalar(&self.kind).to_owned(),
        };
        if self.nullable.is_some() { format!("Option<{plain}>") } else { plain }
    }

    fn default_value(&self) -> String {
        match (self.default.as_deref(), self.nullable, self.kind.as_str()) {
            (Some("empty"), Some(_), _) => "Some(Default::default())".to_owned(),
            (None, Some(_), _) => "None".to_owned(),
            (Some("2147483647"), _, "i32") => "i32::MAX".to_owned(),
            (Some("-2147483648"), _, "i32") => "i32::MIN".to_owned(),
            (Some(value), _, _) => value.to_owned(),
            (None, None, "bool") => "false".to_owned(),
            (None, None, "i8" | "i16" | "i32" | "i64") => "0".to_owned(),
            (None, None, "string") => "String::new()".to_owned(),
            (None, None, "uuid") => "TopicId::ZERO".to_owned(),
            (None, None, kind) if kind.starts_with("[]") => "Vec::new()".to_owned(),
            (None, None, kind) => format!("{kind}::default()"),
        }
    }

    /// An expression that is true if the field does not hold its default.
    fn set(&self) -> String {
        let (name, default) = (&self.name, self.default_value());
        match default.as_str() {
            "None" => format!("self.{name}.is_some()"),
            "false" => format!("self.{name}"),
            "String::new()" | "Vec::new()" => format!("!self.{name}.is_empty()"),
            _ => format!("self.{name} != {default}"),
        }
    }

    /// The condition on `v` for null to be legal, where it is not legal in all versions that have the field.
    fn sometimes_null(&self, served: Versions) -> Option<String> {
        let nullable = self.nullable.filter(|nullable| *nullable != self.present)?;
        let condition = condition(nullable, served)?;
        assert!(
            self.tag.is_none() && self.present == ALL,
            "null in some versions of a field that others lack: {}",
            self.name
        );
        Some(condition)
    }
}

fn scalar(kind: &str) -> &str {
    match kind {
        "string" => "String",
        "uuid" => "TopicId",
        "records" => "Records",
        other => other,
    }
}

/// The condition on `v` for it to be in the range, if any version served is not.
fn condition(range: Versions, served: Versions) -> Option<String> {
    match (range.0 > served.0, range.1 < served.1) {
        (false, false) => None,
        (true, false) => Some(format!("v >= {}", range.0)),
        (false, true) => Some(format!("v <= {}", range.1)),
        (true, true) => Some(format!("({}..={}).contains(&v)", range.0, range.1)),
    }
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn described(range: Versions, served: Versions) -> String {
    match (range.0 > served.0, range.1 < served.1) {
        (false, false) => String::new(),
        (true, false) => format!(" From version {}.", range.0),
        (false, true) => format!(" Up to version {}.", range.1),
        (true, true) => format!(" Versions {} to {}.", range.0, range.1),
    }
}

// Writing the messages.

macro_rules! line {
    ($out:expr $(, $($arg:tt)*)?) => { writeln!($out $(, $($arg)*)?).expect("a string takes anything") };
}

fn message_file(api: &Api) -> String {
    let out = &mut String::new();
    line!(out, "//! {}: the request, the answer, and what they hold.", api.name);
    line!(out, "//!");
    line!(out, "//! {NOTE}");
    line!(out);
    let text = api.structs.iter().flat_map(|s| &s.fields);
    let uses = |kind: &str| text.clone().any(|field| field.element().unwrap_or(&field.kind) == kind);
    if uses("uuid") {
        line!(out, "use crate::id::TopicId;");
    }
    let records = if uses("records") { "Records, " } else { "" };
    if api.structs.iter().flat_map(|s| &s.fields).any(|field| !own(api, field)) {
        line!(out, "use crate::kafka::messages::{{LeaderIdAndEpoch, NodeEndpoint}};");
    }
    line!(out, "use crate::kafka::wire::{{Flaw, Reader, {records}Wire, Writer}};");
    for item in &api.structs {
        line!(out);
        declare(out, item, api.served);
        line!(out);
        let constants: Vec<_> = item.fields.iter().filter(|field| field.default.is_some()).collect();
        if !constants.is_empty() {
            line!(out, "impl Default for {} {{", item.name);
            line!(out, "    fn default() -> Self {{");
            line!(out, "        Self {{");
            for field in &item.fields {
                line!(out, "            {}: {},", field.name, field.default_value());
            }
            line!(out, "        }}\n    }}\n}}\n");
        }
        line!(out, "impl Wire for {} {{", item.name);
        write_fn(out, item, api.served);
        line!(out);
        read_fn(out, item, api.served);
        line!(out, "}}");
    }
    std::mem::take(out)
}

/// Whether the field's type is declared in the file of the API, or everywhere.
fn own(api: &Api, field: &Field) -> bool {
    let kind = field.element().unwrap_or(&field.kind);
    !kind.starts_with(char::is_uppercase) || api.structs.iter().any(|item| item.name == kind)
}

fn declare(out: &mut String, item: &Struct, served: Versions) {
    line!(out, "/// {}", item.doc);
    let default = if item.fields.iter().all(|field| field.default.is_none()) { ", Default" } else { "" };
    line!(out, "#[derive(Clone, Debug, PartialEq{default})]");
    line!(out, "pub struct {} {{", item.name);
    for field in &item.fields {
        line!(out, "    /// {}{}", field.doc, described(field.present, served));
        line!(out, "    pub {}: {},", field.name, field.rust());
    }
    line!(out, "}}");
}

fn write_fn(out: &mut String, item: &Struct, served: Versions) {
    line!(out, "    fn write(&self, w: &mut Writer) {{");
    if conditional(item, served) {
        line!(out, "        let v = w.version();");
    }
    for field in item.fields.iter().filter(|field| field.tag.is_none()) {
        let name = &field.name;
        match (condition(field.present, served), field.sometimes_null(served)) {
            (None, None) => line!(out, "        w.put(&self.{name});"),
            (None, Some(null)) => line!(out, "        w.put_nullable({null}, &self.{name});"),
            (Some(present), _) => {
                line!(out, "        if {present} {{");
                line!(out, "            w.put(&self.{name});");
                line!(out, "        }}");
            }
        }
    }
    if item.fields.iter().all(|field| field.tag.is_none()) {
        line!(out, "        w.no_tags();");
    } else {
        line!(out, "        w.tags(|tags| {{");
        for (tag, field) in item.fields.iter().filter_map(|field| Some((field.tag?, field))) {
            let conditions: Vec<String> = condition(field.present, served).into_iter().chain([field.set()]).collect();
            line!(out, "            if {} {{", conditions.join(" && "));
            line!(out, "                tags.put({tag}, &self.{});", field.name);
            line!(out, "            }}");
        }
        line!(out, "        }});");
    }
    line!(out, "    }}");
}

fn read_fn(out: &mut String, item: &Struct, served: Versions) {
    let tagged: Vec<_> = item.fields.iter().filter_map(|field| Some((field.tag?, field))).collect();
    line!(out, "    fn read(r: &mut Reader) -> Result<Self, Flaw> {{");
    if conditional(item, served) {
        line!(out, "        let v = r.version();");
    }
    line!(out, "        let {}this = Self {{", if tagged.is_empty() { "" } else { "mut " });
    for field in &item.fields {
        let value = match (field.tag, condition(field.present, served), field.sometimes_null(served)) {
            (Some(_), _, _) => field.default_value(),
            (None, None, None) => "r.get()?".to_owned(),
            (None, None, Some(null)) => format!("r.get_nullable({null})?"),
            (None, Some(present), _) => format!("r.get_if({present}, {})?", field.default_value()),
        };
        line!(out, "            {}: {value},", field.name);
    }
    line!(out, "        }};");
    if tagged.is_empty() {
        line!(out, "        r.no_tags()?;");
    } else {
        line!(out, "        r.tags(|tag, r| {{");
        line!(out, "            match tag {{");
        for (tag, field) in tagged {
            let guard = condition(field.present, served).map_or(String::new(), |present| format!(" if {present}"));
            line!(out, "                {tag}{guard} => this.{} = r.get()?,", field.name);
        }
        line!(out, "                _ => return Ok(false),");
        line!(out, "            }}");
        line!(out, "            Ok(true)");
        line!(out, "        }})?;");
    }
    line!(out, "        Ok(this)");
    line!(out, "    }}");
}

fn conditional(item: &Struct, served: Versions) -> bool {
    let needs = |field: &Field| condition(field.present, served).is_some() || field.sometimes_null(served).is_some();
    item.fields.iter().any(needs)
}

fn mod_file(apis: &[Api]) -> String {
    let out = &mut String::new();
    line!(out, "//! The messages of the protocol, one type per request and answer whatever the version.");
    line!(out, "//!");
    line!(out, "//! Writing drops fields that the version lacks; reading gives them Kafka's defaults.");
    line!(out, "//! {NOTE}");
    line!(out);
    let mut names: Vec<String> = apis.iter().map(|api| snake(&api.name)).collect();
    names.sort();
    for name in &names {
        line!(out, "mod {name};");
    }
    line!(out);
    for name in &names {
        line!(out, "pub use {name}::*;");
    }
    std::mem::take(out)
}

// Writing the list of APIs.

fn api_file(apis: &[Api]) -> String {
    let out = &mut String::new();
    line!(out, "//! Which APIs there are, in which versions, and the request and the answer of each.");
    line!(out, "//!");
    line!(out, "//! {NOTE}");
    line!(out);
    line!(out, "use std::ops::RangeInclusive;");
    line!(out);
    line!(out, "use crate::kafka::messages::*;");
    line!(out, "use crate::kafka::wire::{{Flaw, Reader, Writer}};");
    line!(out);
    line!(out, "/// An API that we know, under Kafka's key.");
    line!(out, "#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]");
    line!(out, "#[repr(i16)]");
    line!(out, "pub enum ApiKey {{");
    for api in apis {
        line!(out, "    /// {} ({}).", api.name, api.key);
        line!(out, "    {} = {},", api.name, api.key);
    }
    line!(out, "}}");
    line!(out);
    line!(out, "/// What we advertise, in key order: API, lowest and highest version.");
    line!(out, "pub const SUPPORTED: &[(ApiKey, i16, i16)] = &[");
    for api in apis {
        line!(out, "    (ApiKey::{}, {}, {}),", api.name, api.advertised.0, api.advertised.1);
    }
    line!(out, "];");
    line!(out);
    line!(out, "impl ApiKey {{");
    line!(out, "    /// The API with this key, if we know it.");
    line!(out, "    pub const fn from_code(code: i16) -> Option<Self> {{");
    line!(out, "        match code {{");
    for api in apis {
        line!(out, "            {} => Some(Self::{}),", api.key, api.name);
    }
    line!(out, "            _ => None,");
    line!(out, "        }}");
    line!(out, "    }}");
    line!(out);
    line!(out, "    /// The versions that are served: those advertised, but for Produce below 3 (KAFKA-18659).");
    line!(out, "    pub const fn served(self) -> RangeInclusive<i16> {{");
    line!(out, "        match self {{");
    for api in apis {
        line!(out, "            Self::{} => {}..={},", api.name, api.served.0, api.served.1);
    }
    line!(out, "        }}");
    line!(out, "    }}");
    line!(out);
    line!(out, "    /// The first version with compact lengths and tagged fields (KIP-482).");
    line!(out, "    pub const fn flexible_from(self) -> i16 {{");
    line!(out, "        match self {{");
    for api in apis {
        line!(out, "            Self::{} => {},", api.name, api.flexible);
    }
    line!(out, "        }}");
    line!(out, "    }}");
    line!(out, "}}");
    line!(out);
    body(out, apis, "Request", "What is asked.");
    line!(out);
    body(out, apis, "Response", "What is answered.");
    std::mem::take(out)
}

fn body(out: &mut String, apis: &[Api], side: &str, doc: &str) {
    let unsupported = (side == "Request").then_some("ApiVersionsUnsupported");
    line!(out, "/// {doc}");
    line!(out, "#[derive(Clone, Debug, PartialEq)]");
    line!(out, "pub enum {side}Body {{");
    for api in apis {
        line!(out, "    /// {} ({}).", api.name, api.key);
        line!(out, "    {}({}{side}),", api.name, api.name);
    }
    if let Some(name) = unsupported {
        line!(out, "    /// ApiVersions at a version we lack: answered in version 0 with error 35 (KIP-511).");
        line!(out, "    {name},");
    }
    line!(out, "}}");
    line!(out);
    line!(out, "impl {side}Body {{");
    line!(out, "    /// The API it belongs to.");
    line!(out, "    pub const fn api_key(&self) -> ApiKey {{");
    line!(out, "        match self {{");
    for api in apis {
        line!(out, "            Self::{}(_) => ApiKey::{},", api.name, api.name);
    }
    if let Some(name) = unsupported {
        line!(out, "            Self::{name} => ApiKey::ApiVersions,");
    }
    line!(out, "        }}");
    line!(out, "    }}");
    line!(out);
    line!(out, "    pub(crate) fn write(&self, w: &mut Writer) {{");
    line!(out, "        match self {{");
    for api in apis {
        line!(out, "            Self::{}(body) => w.put(body),", api.name);
    }
    if let Some(name) = unsupported {
        line!(out, "            Self::{name} => {{}}");
    }
    line!(out, "        }}");
    line!(out, "    }}");
    line!(out);
    line!(out, "    pub(crate) fn read(api_key: ApiKey, r: &mut Reader) -> Result<Self, Flaw> {{");
    line!(out, "        match api_key {{");
    for api in apis {
        line!(out, "            ApiKey::{} => r.get().map(Self::{}),", api.name, api.name);
    }
    line!(out, "        }}");
    line!(out, "    }}");
    line!(out, "}}");
    for api in apis {
        line!(out);
        line!(out, "impl From<{}{side}> for {side}Body {{", api.name);
        line!(out, "    fn from(body: {}{side}) -> Self {{", api.name);
        line!(out, "        Self::{}(body)", api.name);
        line!(out, "    }}");
        line!(out, "}}");
    }
}

// Writing the drawing of random messages.

fn draw_file(apis: &[Api]) -> String {
    let out = &mut String::new();
    line!(out, "//! Random messages that their version can carry, for tests.");
    line!(out, "//!");
    line!(out, "//! {NOTE}");
    line!(out);
    line!(out, "use tidelog_core::id::TopicId;");
    line!(out, "use tidelog_core::kafka::messages::*;");
    line!(out, "use tidelog_core::kafka::{{ApiKey, RequestBody, ResponseBody}};");
    line!(out);
    line!(out, "use super::draw::{{Draw, Drawer}};");
    for side in ["Request", "Response"] {
        line!(out);
        line!(out, "/// A {} of the API, as the drawer's version has it.", side.to_lowercase());
        line!(out, "pub(crate) fn draw_{}(api_key: ApiKey, d: &mut Drawer) -> {side}Body {{", side.to_lowercase());
        line!(out, "    match api_key {{");
        for api in apis {
            line!(out, "        ApiKey::{} => {side}Body::{}(d.draw()),", api.name, api.name);
        }
        line!(out, "    }}");
        line!(out, "}}");
    }
    for (api, item) in apis.iter().flat_map(|api| api.structs.iter().map(move |item| (api, item))) {
        line!(out);
        line!(out, "impl Draw for {} {{", item.name);
        line!(out, "    fn draw(d: &mut Drawer) -> Self {{");
        if conditional(item, api.served) {
            line!(out, "        let v = d.version;");
        }
        line!(out, "        Self {{");
        for field in &item.fields {
            let value = match (condition(field.present, api.served), field.sometimes_null(api.served)) {
                (None, None) => "d.draw()".to_owned(),
                (None, Some(null)) => format!("d.draw_nullable({null})"),
                (Some(present), _) => format!("d.draw_if({present}, {})", field.default_value()),
            };
            line!(out, "            {}: {value},", field.name);
        }
        line!(out, "        }}");
        line!(out, "    }}");
        line!(out, "}}");
    }
    std::mem::take(out)
}
