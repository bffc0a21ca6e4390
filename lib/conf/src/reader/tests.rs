//! The reader against texts written by hand.

use super::*;

/// Reads `Key = value` statements and `Key { ... }` blocks into one line of text.
fn outline(text: &str, dialect: Dialect) -> (String, Vec<String>) {
    fn block(reader: &mut Reader, out: &mut String) {
        while let Some(keyword) = reader.keyword() {
            if let Err(error) = statement(reader, &keyword, out) {
                reader.reject(error);
            }
        }
    }
    fn statement(reader: &mut Reader, keyword: &Word, out: &mut String) -> Result<(), Error> {
        if reader.peek()? == Next::Open {
            reader.open(keyword)?;
            out.push_str(&format!("{}:{}{{", keyword.line, keyword.text));
            block(reader, out);
            out.push_str("} ");
            return Ok(());
        }
        let value = reader.value(keyword)?;
        out.push_str(&format!(
            "{}:{}={} ",
            keyword.line, keyword.text, value.text
        ));
        Ok(())
    }
    let mut reader = Reader::new("f", text, dialect);
    let mut out = String::new();
    block(&mut reader, &mut out);
    let errors = match reader.finish() {
        Ok(()) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    };
    (out.trim_end().to_owned(), errors)
}

fn good(text: &str) -> String {
    let (out, errors) = outline(text, Dialect::SPREADLOGD);
    assert_eq!(errors, [""; 0], "{text}");
    out
}

fn bad(text: &str) -> Vec<String> {
    outline(text, Dialect::SPREADLOGD).1
}

#[test]
fn equals_with_or_without_blanks_and_kept_inside_values() {
    assert_eq!(
        good("Port = 4803\nPort=4803\nPort =4803\n"),
        "1:Port=4803 2:Port=4803 3:Port=4803"
    );
    assert_eq!(good("File=/logs/a=b"), "1:File=/logs/a=b");
    assert_eq!(good("File = = \n"), "1:File==");
}

#[test]
fn strings_have_no_escapes_and_may_span_lines() {
    assert_eq!(good("A = \"x # y\" B='\"'\n"), "1:A=x # y 1:B=\"");
    assert_eq!(good("A = 'x\ny'\nB = z"), "1:A=x\ny 3:B=z");
    let (_, errors) = outline("A = 'x\ny'\n", Dialect::SPREAD);
    assert_eq!(errors[0], "f:1: this string has no closing '");
    assert_eq!(bad("A = \"x"), ["f:1: this string has no closing \""]);
}

#[test]
fn blocks_nest_and_comments_vanish() {
    assert_eq!(
        good("# c\nSpread { # d\n Log { Group = g }\n}\nX=1#e"),
        "2:Spread{3:Log{3:Group=g } } 5:X=1"
    );
    assert_eq!(good(""), "");
    assert_eq!(good("A {}"), "1:A{}");
}

#[test]
fn semicolons_are_blanks_in_spread_conf_only() {
    assert_eq!(outline("A = 1; B = 2;", Dialect::SPREAD).0, "1:A=1 1:B=2");
    assert_eq!(good("A = 1;\nB = 2"), "1:A=1; 2:B=2");
}

#[test]
fn every_error_is_reported_with_its_line() {
    let text = "A 1\nB = 2\nC = {\nD\n}\n= E\n}\nF {\n";
    assert_eq!(
        bad(text),
        [
            "f:1: expected '=' and a value behind \"A\"",
            "f:3: C needs a value, got '{'",
            "f:6: expected a keyword, got '='",
            "f:7: unexpected '}', no block is open",
            "f:8: missing '}' for this '{' at the end of the file",
        ]
    );
    assert_eq!(outline(text, Dialect::SPREADLOGD).0, "2:B=2 8:F{}");
}

#[test]
fn an_error_inside_a_block_does_not_end_it() {
    let (out, errors) = outline("S {\n X }\nT = 1\n", Dialect::SPREADLOGD);
    assert_eq!(out, "1:S{} 3:T=1");
    assert_eq!(errors, ["f:2: expected '=' and a value behind \"X\""]);
}

#[test]
fn at_most_twenty_errors_are_listed() {
    let errors = bad(&"=\n".repeat(25));
    assert_eq!(errors.len(), 21);
    assert_eq!(errors[20], "f: 5 more errors");
}
