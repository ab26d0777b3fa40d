//! Lines into commands.

use super::{
    expression::{Expression, parse_expression},
    scanner::{Scanner, SyntaxError},
};

/// One command of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The expression before the verb.
    pub address: Option<Expression>,
    /// What to do.
    pub verb: Verb,
    /// What follows the verb, split at blanks.
    pub words: Vec<Word>,
    /// The command as typed.
    pub text: String,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// `::name`.
    Dcmd(String),
    /// `$q` and its kin.
    Dollar(char),
    /// Nothing: a bare expression, which sets dot.
    None,
}

/// A word behind a verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Text, without its quotes.
    Text(String),
    /// `$[expression]`.
    Value(Expression),
}

/// Parses a line. Commands are independent: an error in one leaves the others.
#[must_use]
pub fn parse(line: &str) -> Vec<Result<Command, SyntaxError>> {
    let mut scanner = Scanner::new(line);
    let mut commands = Vec::new();
    loop {
        scanner.skip_blanks();
        if !scanner.is_at_end_of_command() {
            let start = scanner.at();
            let result = command(&mut scanner);
            scanner.skip_command();
            let text: String = line
                .chars()
                .skip(start)
                .take(scanner.at() - start)
                .collect();
            commands.push(result.map(|command| Command {
                text: text.trim_end().to_owned(),
                ..command
            }));
        }
        if !scanner.next_command() {
            return commands;
        }
    }
}

fn command(scanner: &mut Scanner) -> Result<Command, SyntaxError> {
    let address = if is_at_verb(scanner) {
        None
    } else {
        Some(parse_expression(scanner)?)
    };
    scanner.skip_blanks();
    let verb = verb(scanner)?;
    let mut words = Vec::new();
    loop {
        scanner.skip_blanks();
        if scanner.is_at_end_of_command() {
            return Ok(Command {
                address,
                verb,
                words,
                text: String::new(),
            });
        }
        if matches!(scanner.peek(), Some('|' | '!')) {
            return Err(scanner.error("pipes are not supported yet"));
        }
        if verb == Verb::None {
            return Err(scanner.error("expected ::name"));
        }
        words.push(word(scanner)?);
    }
}

fn is_at_verb(scanner: &Scanner) -> bool {
    scanner.starts_with("::") || scanner.starts_with("$")
}

fn verb(scanner: &mut Scanner) -> Result<Verb, SyntaxError> {
    if scanner.take("::") {
        let name = scanner.take_while(|c| c.is_alphanumeric() || c == '_');
        return if name.is_empty() {
            Err(scanner.error("expected the name of a command"))
        } else {
            Ok(Verb::Dcmd(name))
        };
    }
    if scanner.take("$") {
        return match scanner.next() {
            Some(letter) if letter.is_ascii_graphic() => Ok(Verb::Dollar(letter)),
            _ => Err(scanner.error("expected a letter behind $")),
        };
    }
    match scanner.peek() {
        Some(',') => Err(scanner.error("counts are not supported yet")),
        Some('/' | '=' | '?' | '@' | '\\') if !scanner.is_at_end_of_command() => {
            Err(scanner.error("formats are not supported yet"))
        }
        _ => Ok(Verb::None),
    }
}

/// A word: text and quoted pieces without blanks between them, or `$[expression]`.
fn word(scanner: &mut Scanner) -> Result<Word, SyntaxError> {
    let start = scanner.at();
    if scanner.take("$[") {
        let value = parse_expression(scanner)?;
        scanner.skip_blanks();
        return if scanner.take("]") {
            Ok(Word::Value(value))
        } else {
            Err(scanner.error("expected ]"))
        };
    }
    let mut text = String::new();
    while let Some(c) = scanner.peek() {
        match c {
            '"' | '\'' => text.push_str(&quoted(scanner, c)?),
            ' ' | '\t' | '\n' | '\r' | ';' | '!' | '|' => break,
            '$' => return Err(scanner.error("expected $[expression] as a word of its own")),
            _ => text.extend(scanner.next()),
        }
    }
    if scanner.at() == start {
        Err(scanner.error("syntax error"))
    } else {
        Ok(Word::Text(text))
    }
}

/// Quoted text; in double quotes with the escapes of C.
fn quoted(scanner: &mut Scanner, quote: char) -> Result<String, SyntaxError> {
    let start = scanner.at();
    scanner.next();
    let mut text = String::new();
    loop {
        match scanner.next() {
            None => return Err(scanner.error_at(start, format!("syntax error: {quote} unmatched"))),
            Some(c) if c == quote => return Ok(text),
            Some('\\') if quote == '"' => text.extend(scanner.next().map(escape)),
            Some(c) => text.push(c),
        }
    }
}

fn escape(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Command {
        let mut commands = parse(line);
        assert_eq!(commands.len(), 1, "{line}");
        commands.remove(0).unwrap()
    }

    fn error(line: &str) -> String {
        parse(line)
            .into_iter()
            .find_map(Result::err)
            .map(|e| e.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn commands_are_address_verb_and_words() {
        let command = one("  umem_alloc_64 ::umem_verify -v \"a b\"'c'd $[main+1] // all of it");
        assert_eq!(
            command.address,
            Some(Expression::Name("umem_alloc_64".into(), None))
        );
        assert_eq!(command.verb, Verb::Dcmd("umem_verify".into()));
        assert_eq!(
            command.words[..2],
            [Word::Text("-v".into()), Word::Text("a bcd".into())]
        );
        assert!(matches!(command.words[2], Word::Value(_)));
        assert_eq!(
            command.text,
            "umem_alloc_64 ::umem_verify -v \"a b\"'c'd $[main+1]"
        );
    }

    #[test]
    fn a_line_has_any_number_of_commands() {
        assert_eq!(parse("").len(), 0);
        assert_eq!(parse(" ;; // nothing; here").len(), 0);
        assert_eq!(parse("::a; ::b;$q\n::c").len(), 4);
        assert_eq!(one("$q").verb, Verb::Dollar('q'));
        assert_eq!(one("123").verb, Verb::None);
        assert_eq!(
            one("7f00::whatis").address,
            Some(Expression::Number(0x7f00))
        );
        assert_eq!(parse("::echo ';' ; ::b").len(), 2);
    }

    #[test]
    fn an_error_leaves_the_other_commands() {
        let commands = parse("::a; 12g::b; ::c");
        assert_eq!(commands.len(), 3);
        assert!(commands[0].is_ok() && commands[1].is_err() && commands[2].is_ok());
    }

    #[test]
    fn errors_say_what_and_where() {
        let cases = [
            (
                "::",
                "expected the name of a command at the end of the line (column 3)",
            ),
            ("1 2", "expected ::name near \"2\" (column 3)"),
            (
                ")",
                "expected an address or an expression near \")\" (column 1)",
            ),
            (
                "::a \"b",
                "syntax error: \" unmatched near \"\"b\" (column 5)",
            ),
            (
                "::a | ::b",
                "pipes are not supported yet near \"| ::b\" (column 5)",
            ),
            (
                "1,2::a",
                "counts are not supported yet near \",2::a\" (column 2)",
            ),
            (
                "$",
                "expected a letter behind $ at the end of the line (column 2)",
            ),
            ("::a $[1", "expected ] at the end of the line (column 8)"),
        ];
        for (line, expected) in cases {
            assert_eq!(error(line), expected, "{line}");
        }
    }
}
