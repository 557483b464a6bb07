//! `godwit context`: whom godwit asks, and with which keys. It asks no daemon.

use jiff::Timestamp;
use serde::Serialize;

use crate::args::{ContextAct, Wanted};
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::place::contexts::{self, Change, Contexts, LOCAL};
use crate::place::{Place, Remote, keys};
use crate::view::table::{Fit, Table};

pub(super) fn context(act: &ContextAct, wanted: &Wanted, out: &mut Output) -> Result<u8, Error> {
    match act {
        ContextAct::List => list(&Contexts::read()?, out),
        ContextAct::Show { name: None } => show(&Place::of(wanted)?, out),
        ContextAct::Show { name: Some(name) } => show(&Place::of(&Wanted::Context(name.clone()))?, out),
        ContextAct::Use { name } => {
            let changed = contexts::change(&Change::Use(name))?;
            let asked = match name.as_str() {
                LOCAL => "this host".into(),
                name => changed.get(name)?.address.clone(),
            };
            told(&changed, &format!("From now on {asked} is asked."), out)
        }
        ContextAct::Set { name, given } => {
            let changed = contexts::change(&Change::Set(name, given))?;
            // The keys may come later; until then it is no use.
            if let Err(failure) = keys::read(&changed.get(name)?.files(), name) {
                out.note(&format!("It cannot be used yet: {}.", failure.message))?;
            }
            told(
                &changed,
                &format!("To ask it: godwit --context {name} guests"),
                out,
            )
        }
        ContextAct::Remove { name } => {
            let changed = contexts::change(&Change::Remove(name))?;
            told(
                &changed,
                &format!("{name} is no context any more; its keys are where they were."),
                out,
            )
        }
    }
}

/// A context, for programs.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    address: &'a str,
    server_name: Option<&'a str>,
    in_use: bool,
}

fn list(contexts: &Contexts, out: &mut Output) -> Result<u8, Error> {
    let current = contexts.current();
    if out.is_json() {
        let rows = contexts.all().map(|(name, context)| Row {
            name,
            address: &context.address,
            server_name: context.server_name.as_deref(),
            in_use: current == Some(name),
        });
        out.json(&serde_json::json!({ "contexts": rows.collect::<Vec<_>>() }))?;
        return Ok(exit::DONE);
    }
    let mut table = Table::new([
        ("NAME", Fit::Keep),
        ("ADDRESS", Fit::Keep),
        ("SERVER NAME", Fit::Cut),
        ("IN USE", Fit::Keep),
    ]);
    let mark = |used: bool| if used { "yes" } else { "" };
    table.row([
        LOCAL.into(),
        "this host".into(),
        "-".into(),
        mark(current.is_none()).into(),
    ]);
    for (name, context) in contexts.all() {
        let server = context.server_name.as_deref().unwrap_or("-");
        table.row([
            name.into(),
            context.address.as_str().into(),
            server.into(),
            mark(current == Some(name)).into(),
        ]);
    }
    out.lines(table.lines(out.width()))?;
    Ok(exit::DONE)
}

/// Who would be asked, for programs.
#[derive(Serialize)]
struct Shown {
    context: String,
    address: String,
    server_name: Option<String>,
    ca: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    /// Days that the certificate is valid still.
    days_left: Option<i64>,
    error: Option<String>,
}

fn show(place: &Place, out: &mut Output) -> Result<u8, Error> {
    let remote = match place {
        Place::Network(remote) => remote,
        Place::Socket(_) => {
            let shown = Shown {
                context: LOCAL.into(),
                address: place.to_string(),
                server_name: None,
                ca: None,
                certificate: None,
                key: None,
                days_left: None,
                error: None,
            };
            match out.is_json() {
                true => out.json(&shown)?,
                false => out.line(&format!("This host is asked, at {place}."))?,
            }
            return Ok(exit::DONE);
        }
    };
    let keys = keys::read(&remote.files, &remote.context);
    let now = Timestamp::now().as_millisecond();
    let days_left = keys
        .as_ref()
        .ok()
        .and_then(|keys| Some((keys.ends_ms()? - now).div_euclid(86_400_000)));
    let path = |path: &std::path::Path| path.display().to_string();
    let shown = Shown {
        context: remote.context.clone(),
        address: place.to_string(),
        server_name: Some(remote.name.clone()),
        ca: Some(path(&remote.files.ca)),
        certificate: Some(path(&remote.files.certificate)),
        key: Some(path(&remote.files.key)),
        days_left,
        error: keys.as_ref().err().map(|failure| failure.message.clone()),
    };
    match out.is_json() {
        true => out.json(&shown)?,
        false => out.lines(lines(remote, &shown))?,
    }
    match keys {
        Ok(_) => Ok(exit::DONE),
        Err(failure) => {
            out.failure(&failure);
            Ok(exit::FAILED)
        }
    }
}

fn lines(remote: &Remote, shown: &Shown) -> Vec<String> {
    let files = &remote.files;
    let ends = match shown.days_left {
        None => String::new(),
        Some(days) if days < 0 => " (it has ended)".into(),
        Some(days) => format!(" (valid for {days} days)"),
    };
    vec![
        format!("Context:      {}", shown.context),
        format!("Address:      {}", shown.address),
        format!("Server name:  {}", remote.name),
        format!("Authority:    {}", files.ca.display()),
        format!("Certificate:  {}{ends}", files.certificate.display()),
        format!("Key:          {}", files.key.display()),
    ]
}

/// What was changed, and where.
fn told(changed: &Contexts, sentence: &str, out: &mut Output) -> Result<u8, Error> {
    let path = changed.path().display().to_string();
    if out.is_json() {
        out.json(&serde_json::json!({ "written": path, "in_use": changed.current().unwrap_or(LOCAL) }))?;
    } else {
        out.line(&format!("{path} is written."))?;
        out.line(sentence)?;
    }
    Ok(exit::DONE)
}
