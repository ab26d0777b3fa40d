//! Lines into commands.

use super::{
    expression::{Expression, escape, parse_expression, width},
    scanner::{Scanner, SyntaxError},
};

/// Commands that may hand their addresses on to each other.
const STAGES_MAX: usize = 64;

/// One command of a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// What stands between the pipes; empty when there is only a shell command.
    pub stages: Vec<Stage>,
    /// The shell command that gets the output.
    pub shell: Option<String>,
    /// The command as typed.
    pub text: String,
}

/// A command between pipes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The expression before the verb.
    pub address: Option<Expression>,
    /// How often.
    pub count: Option<Expression>,
    /// What to do.
    pub verb: Verb,
    /// What follows the verb, split at blanks.
    pub words: Vec<Word>,
}

impl Stage {
    /// The verb as typed, without what follows it.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.verb {
            Verb::Dcmd(name) => format!("::{name}"),
            Verb::Dollar(name) => name.clone(),
            Verb::Format(sign, format) => format!("{sign}{format}"),
            Verb::Assign(name, _) => format!(">{name}"),
            Verb::None => "an expression".to_owned(),
        }
    }
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// `::name`.
    Dcmd(String),
    /// `$q` and its kin, with the dollar sign; and `:R`.
    Dollar(String),
    /// `/K` and its kin: the sign, and the format behind it.
    Format(char, String),
    /// `>name`: sets a variable, cut to so many bytes.
    Assign(String, u8),
    /// Nothing: a bare expression.
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

/// Takes the commands of a line one by one.
pub struct Parser {
    scanner: Scanner,
    is_done: bool,
}

impl Parser {
    /// For a line, or for several.
    #[must_use]
    pub fn new(line: &str) -> Self {
        Self {
            scanner: Scanner::new(line, super::DEFAULT_RADIX),
            is_done: false,
        }
    }

    /// The next command; none at the end. Commands are independent: an error in one leaves the others.
    pub fn next(&mut self, radix: u32) -> Option<Result<Command, SyntaxError>> {
        let scanner = &mut self.scanner;
        scanner.radix = radix;
        while !self.is_done {
            scanner.skip_blanks();
            if scanner.is_at_end_of_command() {
                self.is_done = !scanner.next_command();
                continue;
            }
            let start = scanner.at();
            let result = command(scanner);
            if result.is_err() {
                scanner.skip_command();
            }
            let text = scanner.since(start);
            self.is_done = !scanner.next_command();
            return Some(result.map(|command| Command { text, ..command }));
        }
        None
    }
}

fn command(scanner: &mut Scanner) -> Result<Command, SyntaxError> {
    let mut command = Command::default();
    if scanner.take("!") {
        command.shell = Some(shell(scanner)?);
        return Ok(command);
    }
    loop {
        command.stages.push(stage(scanner)?);
        scanner.skip_blanks();
        if scanner.is_at_end_of_command() {
            return Ok(command);
        }
        if scanner.take("!") {
            command.shell = Some(shell(scanner)?);
            return Ok(command);
        }
        if !scanner.take("|") {
            return Err(scanner.error(expected_behind(&command)));
        }
        if command.stages.len() == STAGES_MAX {
            return Err(scanner.error("there are too many pipes"));
        }
        scanner.skip_blanks();
        if scanner.is_at_end_of_command() || matches!(scanner.peek(), Some('|' | '!')) {
            return Err(scanner.error("expected a command behind |"));
        }
    }
}

/// What could have followed the last stage.
fn expected_behind(command: &Command) -> &'static str {
    match command.stages.last() {
        Some(Stage {
            verb: Verb::None,
            count: None,
            ..
        }) => "expected an operator, a count or a verb such as ::name",
        Some(Stage {
            verb: Verb::None, ..
        }) => "expected a verb such as ::name",
        _ => "expected | or ! or ; or the end of the line",
    }
}

fn shell(scanner: &mut Scanner) -> Result<String, SyntaxError> {
    let text = scanner.take_shell();
    if text.is_empty() {
        Err(scanner.error("expected a shell command behind !"))
    } else {
        Ok(text)
    }
}

fn stage(scanner: &mut Scanner) -> Result<Stage, SyntaxError> {
    scanner.skip_blanks();
    let address = if is_at_verb(scanner) || scanner.starts_with(",") {
        None
    } else {
        Some(parse_expression(scanner)?)
    };
    scanner.skip_blanks();
    let count = if scanner.take(",") {
        Some(parse_expression(scanner)?)
    } else {
        None
    };
    scanner.skip_blanks();
    let verb = verb(scanner)?;
    let mut words = Vec::new();
    if matches!(verb, Verb::Dcmd(_) | Verb::Dollar(_)) {
        loop {
            scanner.skip_blanks();
            if scanner.is_at_end_of_command() || matches!(scanner.peek(), Some('|' | '!')) {
                break;
            }
            words.push(word(scanner)?);
        }
    }
    Ok(Stage {
        address,
        count,
        verb,
        words,
    })
}

fn is_at_verb(scanner: &Scanner) -> bool {
    matches!(
        scanner.peek(),
        Some(':' | '$' | '/' | '\\' | '?' | '@' | '=' | '>')
    )
}

fn verb(scanner: &mut Scanner) -> Result<Verb, SyntaxError> {
    if scanner.take("::") {
        let name = scanner.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '`' | '.'));
        return if name.is_empty() {
            Err(scanner.error("expected the name of a command behind ::"))
        } else {
            Ok(Verb::Dcmd(name))
        };
    }
    if scanner.take("$") {
        return match scanner.next() {
            Some('<') => {
                scanner.take("<");
                Ok(Verb::Dollar("$<".to_owned()))
            }
            Some(sign) if sign.is_ascii_graphic() && !matches!(sign, ';' | '[' | '|' | '!') => {
                Ok(Verb::Dollar(format!("${sign}")))
            }
            _ => Err(scanner.error_at(scanner.at(), "expected a letter behind $")),
        };
    }
    if scanner.take(":R") {
        return Ok(Verb::Dollar(":R".to_owned()));
    }
    match scanner.peek() {
        Some(':') => Err(scanner.error("expected ::name; a process is not run or changed here")),
        Some('>') => assignment(scanner),
        Some(sign @ ('/' | '=' | '?' | '@' | '\\')) if !scanner.is_at_end_of_command() => {
            scanner.next();
            Ok(Verb::Format(sign, scanner.take_format()))
        }
        _ => Ok(Verb::None),
    }
}

fn assignment(scanner: &mut Scanner) -> Result<Verb, SyntaxError> {
    scanner.next();
    let width = width(scanner)?;
    let start = scanner.at();
    let name = scanner.take_while(|c| c.is_alphanumeric() || c == '_');
    if name.is_empty() {
        Err(scanner.error_at(start, "expected the name of a variable behind >"))
    } else {
        Ok(Verb::Assign(name, width))
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
            '$' if scanner.starts_with("$[") => break,
            _ => text.extend(scanner.next()),
        }
    }
    if scanner.at() == start {
        Err(scanner.error("expected a word"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Vec<Result<Command, SyntaxError>> {
        let mut parser = Parser::new(line);
        std::iter::from_fn(|| parser.next(16)).collect()
    }

    fn one(line: &str) -> Command {
        let mut commands = parse(line);
        assert_eq!(commands.len(), 1, "{line}");
        commands.remove(0).unwrap()
    }

    fn stage_of(line: &str) -> Stage {
        let mut command = one(line);
        assert_eq!(command.stages.len(), 1, "{line}");
        command.stages.remove(0)
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
        let line = "  umem_alloc_64 ::umem_verify -v \"a b\"'c'd $[main+1] // all of it";
        let stage = stage_of(line);
        assert_eq!(
            stage.address,
            Some(Expression::Name("umem_alloc_64".into(), None))
        );
        assert_eq!(stage.verb, Verb::Dcmd("umem_verify".into()));
        assert_eq!(
            stage.words[..2],
            [Word::Text("-v".into()), Word::Text("a bcd".into())]
        );
        assert!(matches!(stage.words[2], Word::Value(_)));
        let help = stage_of("::help $c");
        assert_eq!(help.words, [Word::Text("$c".into())]);
        assert_eq!(
            one(line).text,
            "umem_alloc_64 ::umem_verify -v \"a b\"'c'd $[main+1]"
        );
    }

    #[test]
    fn a_line_has_any_number_of_commands() {
        assert_eq!(parse("").len(), 0);
        assert_eq!(parse(" ;; // nothing; here").len(), 0);
        assert_eq!(parse("::a; ::b;$q\n::c").len(), 4);
        assert_eq!(stage_of("$q").verb, Verb::Dollar("$q".into()));
        assert_eq!(stage_of("123").verb, Verb::None);
        assert_eq!(
            stage_of("7f00::whatis").address,
            Some(Expression::Number(0x7f00))
        );
        assert_eq!(parse("::echo ';' ; ::b").len(), 2);
        assert_eq!(parse("::a // x\n::b").len(), 2);
    }

    #[test]
    fn pipes_and_shell_commands_end_a_stage() {
        let command = one("::walk umem_cache c | ::grep \"1|2\" | 5::b ! sort | uniq 'a;b'; ");
        assert_eq!(command.stages.len(), 3);
        assert_eq!(command.stages[1].words, [Word::Text("1|2".into())]);
        assert_eq!(command.shell.as_deref(), Some("sort | uniq 'a;b'"));
        assert_eq!(one("!ls -l").shell.as_deref(), Some("ls -l"));
        assert!(one("! ls").stages.is_empty());
        // Before a verb a bar is an operator unless a verb follows it.
        assert_eq!(one("1|2::a").stages.len(), 1);
        assert_eq!(one("1 | ::a").stages.len(), 2);
        assert_eq!(one("1 | /K").stages.len(), 2);
        assert_eq!(one("::a | 5 | ::b").stages.len(), 3);
    }

    #[test]
    fn counts_formats_and_assignments() {
        let stage = stage_of("7f00,4/K");
        assert_eq!(stage.count, Some(Expression::Number(4)));
        assert_eq!(stage.verb, Verb::Format('/', "K".into()));
        assert_eq!(
            stage_of(",2/2X\"a;b\"n").verb,
            Verb::Format('/', "2X\"a;b\"n".into())
        );
        assert_eq!(stage_of("1==2=D").verb, Verb::Format('=', "D".into()));
        assert_eq!(stage_of("/").verb, Verb::Format('/', String::new()));
        assert_eq!(stage_of("5>x").verb, Verb::Assign("x".into(), 8));
        assert_eq!(stage_of("5>/c/x").verb, Verb::Assign("x".into(), 1));
        assert_eq!(stage_of("5>>1").verb, Verb::None);
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
                "syntax error at the end of the line (column 3): expected the name of a command behind ::",
            ),
            (
                "1 2",
                "syntax error near \"2\" (column 3): expected an operator, a count or a verb such as ::name",
            ),
            (
                "1,2 3",
                "syntax error near \"3\" (column 5): expected a verb such as ::name",
            ),
            (
                ")",
                "syntax error near \")\" (column 1): expected an address or an expression",
            ),
            (
                "::a \"b",
                "syntax error: \" unmatched near \"\"b\" (column 5)",
            ),
            (
                "::a |",
                "syntax error at the end of the line (column 6): expected a command behind |",
            ),
            (
                "::a | | ::b",
                "syntax error near \"| ::b\" (column 7): expected a command behind |",
            ),
            (
                "| ::b",
                "syntax error near \"| ::b\" (column 1): expected an address or an expression",
            ),
            (
                "1,::a",
                "syntax error near \"::a\" (column 3): expected an address or an expression",
            ),
            (
                "$",
                "syntax error at the end of the line (column 2): expected a letter behind $",
            ),
            (
                "::a $[1",
                "syntax error at the end of the line (column 8): expected ]",
            ),
            (
                "5>",
                "syntax error at the end of the line (column 3): expected the name of a variable behind >",
            ),
            (
                "5>x y",
                "syntax error near \"y\" (column 5): expected | or ! or ; or the end of the line",
            ),
            (
                "::a !",
                "syntax error at the end of the line (column 6): expected a shell command behind !",
            ),
            (
                ":c",
                "syntax error near \":c\" (column 1): expected ::name; a process is not run or changed here",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(error(line), expected, "{line}");
        }
        let pipes = vec!["::a"; 100].join("|");
        assert!(error(&pipes).starts_with("there are too many pipes"));
    }
}
