//! The edge's pages: its routes, and the operator's overrides. Everything is in them; nothing is
//! fetched from elsewhere.

use std::fmt::Write as _;

use logic::routes::{BadLine, Rejected, Row, Table};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #d9dde3; --soft: #5b6470; --back: #fff; --text: #1b1f24;
  --head: #f4f6f8; --accent: #1a6f4a; --warn: #9a4b00 }
@media (prefers-color-scheme: dark) { :root { --line: #333a43; --soft: #9aa5b1; --back: #14181d;
  --text: #e6e9ed; --head: #1c2229; --accent: #5ecb97; --warn: #e8a35c } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif }
header { display: flex; flex-wrap: wrap; gap: .3em 1.2em; align-items: baseline;
  padding: .9em 1.2em; border-bottom: 1px solid var(--line); background: var(--head) }
header b { font-size: 1.1em }
header a { color: var(--accent); text-decoration: none }
main { max-width: 78em; margin: 0 auto; padding: 1em 1.2em 3em }
h1 { font-size: 1.3em; margin: .4em 0 .6em }
input, textarea { width: 100%; padding: .5em .7em; border: 1px solid var(--line);
  border-radius: .4em; background: var(--back); color: inherit; font: inherit }
textarea { min-height: 22em; font: 13px/1.5 ui-monospace, monospace }
button { margin: .8em 0; padding: .5em 1.4em; border: 0; border-radius: .4em;
  background: var(--accent); color: var(--back); font: inherit; cursor: pointer }
.wide { overflow-x: auto; margin-top: 1em }
table { border-collapse: collapse; width: 100% }
th, td { padding: .45em .7em; text-align: left; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; vertical-align: top }
th { color: var(--soft); font-weight: 600; white-space: nowrap }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
code, pre { font: 13px/1.5 ui-monospace, monospace }
td.at { min-width: 13.5em } code { overflow-wrap: anywhere }
a { color: var(--accent) } a:hover { text-decoration: underline }
ul { padding-left: 1.2em } li { margin: .3em 0 }
@media (max-width: 46em) {
  thead { position: absolute; left: -999em }
  table, tbody, tr, td { display: block }
  tr[hidden] { display: none }
  tr { padding: .6em 0; border-bottom: 1px solid var(--line) }
  td, td.number { display: grid; grid-template-columns: 7em 1fr; gap: .6em; padding: .1em 0;
    border: 0; text-align: left; white-space: normal }
  td::before { content: attr(data-l); color: var(--soft) } td:empty { display: none }
}
.soft { color: var(--soft) } .warn { color: var(--warn) }
";

const FILTER: &str = "
const field = document.getElementById('filter');
const filter = () => {
  const words = field.value.toLowerCase().split(' ').filter(Boolean);
  for (const row of document.querySelectorAll('tbody tr')) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every(word => text.includes(word));
  }
};
field.value = new URLSearchParams(location.search).get('filter') || '';
field.addEventListener('input', () => {
  history.replaceState(null, '', '?filter=' + encodeURIComponent(field.value));
  filter();
});
filter();
";

const SAVE: &str = "
const form = document.querySelector('form'), said = document.getElementById('said');
form.addEventListener('submit', async event => {
  event.preventDefault();
  const path = location.pathname.replace('/manual', '/api/manual');
  const body = { value: form.value.value, version: form.version.value };
  const answer = await fetch(path, { method: 'PUT', body: JSON.stringify(body) });
  said.textContent = answer.ok ? 'Saved.' : 'Not saved: ' + (await answer.text()).trim();
  if (answer.ok) form.version.value = (await (await fetch(path)).json()).version;
});
";

const COMMANDS: &str =
    "route add SERVICE SOURCE DESTINATION [weight W] [tags \"A,B\"] [opts \"K=V K=V\"]
    another target for a route; options are those of tags
route del SERVICE [SOURCE [DESTINATION]]
route del [SERVICE] tags \"A,B\"
    takes targets out
route weight SERVICE SOURCE weight W [tags \"A,B\"]
route weight SOURCE weight W tags \"A,B\"
    the share, from 0 to 1, that all targets meant get together";

/// What both pages begin with.
fn head(title: &str, name: &str, writable: bool) -> String {
    let name = if name.is_empty() { "Edge" } else { name };
    let manual = if writable {
        "<a href=\"/manual\">Overrides</a>"
    } else {
        ""
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} · {name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <header><b>{name}</b> <a href=\"/routes\">Routes</a> {manual} \
         <a href=\"/api/routes\">JSON</a></header>\n<main>\n<h1>{title}</h1>\n",
        name = escape(name),
    )
}

pub(super) fn routes(table: &Table, name: &str, writable: bool) -> String {
    let rows = table.rows();
    let mut page = head("Routes", name, writable);
    if rows.is_empty() {
        page.push_str(
            "<p>No service has a route: tag one with <code>urlprefix-HOST/PATH</code> and give it \
             a check.</p>\n",
        );
    } else {
        page.push_str(
            "<input id=\"filter\" placeholder=\"Type to filter\" aria-label=\"Filter\" \
             autofocus>\n<div class=\"wide\">\n<table>\n<thead><tr><th>Service</th>\
             <th>Source</th><th>Destination</th><th>Options</th><th>Weight</th></tr></thead>\n\
             <tbody>\n",
        );
        for row in &rows {
            put_row(&mut page, row);
        }
        page.push_str("</tbody>\n</table>\n</div>\n");
    }
    put_mistakes(&mut page, table);
    if !rows.is_empty() {
        // Writing to a string can't fail.
        let _ = writeln!(page, "<script>{FILTER}</script>");
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn put_row(page: &mut String, row: &Row) {
    let [service, source, destination, options] =
        [&row.service, &row.src, &row.dst, &row.opts].map(|cell| escape(cell));
    let destination = if row.dst.starts_with("http") {
        format!("<a href=\"{destination}\">{destination}</a>")
    } else {
        destination
    };
    let weight = row.weight * 100.0;
    // Writing to a string can't fail.
    let _ = writeln!(
        page,
        "<tr><td data-l=\"Service\">{service}</td><td data-l=\"Source\">{source}</td>\
         <td class=\"at\" data-l=\"Destination\">{destination}</td>\
         <td data-l=\"Options\">{options}</td>\
         <td class=\"number\" data-l=\"Weight\">{weight:.2}%</td></tr>",
    );
}

/// What somebody meant to be a route, and isn't.
fn put_mistakes(page: &mut String, table: &Table) {
    if table.rejected().is_empty() && table.bad_lines().is_empty() {
        return;
    }
    page.push_str("<h1>Not understood</h1>\n<ul>\n");
    for Rejected {
        service,
        tag,
        reason,
    } in table.rejected()
    {
        let [service, tag, reason] = [service, tag, reason].map(|text| escape(text));
        // Writing to a string can't fail.
        let _ = writeln!(
            page,
            "<li>{service}: <code>{tag}</code> <span class=\"warn\">{reason}</span></li>"
        );
    }
    for BadLine {
        number,
        line,
        reason,
    } in table.bad_lines()
    {
        let [line, reason] = [line, reason].map(|text| escape(text));
        // Writing to a string can't fail.
        let _ = writeln!(
            page,
            "<li>line {number}: <code>{line}</code> <span class=\"warn\">{reason}</span></li>"
        );
    }
    page.push_str("</ul>\n");
}

pub(super) fn manual(value: &str, version: u64, name: &str) -> String {
    let mut page = head("Overrides", name, true);
    // Writing to a string can't fail.
    let _ = writeln!(
        page,
        "<form>\n<input type=\"hidden\" name=\"version\" value=\"{version}\">\n\
         <textarea name=\"value\" spellcheck=\"false\" aria-label=\"Route commands\">\n{}\
         </textarea>\n<button>Save</button> <span id=\"said\" role=\"status\"></span>\n</form>\n\
         <pre class=\"soft wide\">{}</pre>\n<script>{SAVE}</script>\n</main>\n</body>\n</html>",
        escape(value),
        escape(COMMANDS),
    );
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
