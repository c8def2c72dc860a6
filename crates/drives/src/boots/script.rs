//! GRUB's script language, as far as grub-mkconfig and people write it: words
//! with quotes and variables, `if`, functions, and commands with a block.

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// A variable; in quotes it is not split into words.
    Variable {
        name: String,
        quoted: bool,
    },
}

/// A word as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub parts: Vec<Part>,
    /// Whether any of it is in quotes: then it is a word though it be empty.
    pub quoted: bool,
}

impl Word {
    /// A word that means the same everywhere.
    fn plain(&self) -> Option<&str> {
        match &self.parts[..] {
            [Part::Text(text)] if !self.quoted => Some(text),
            _ => None,
        }
    }

    fn push(&mut self, c: char) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push(c),
            _ => self.parts.push(Part::Text(c.to_string())),
        }
    }
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Simple {
        words: Vec<Word>,
        block: Option<Vec<Command>>,
    },
    If {
        /// Condition and what follows from it.
        branches: Vec<(Vec<Command>, Vec<Command>)>,
        otherwise: Vec<Command>,
    },
    Function {
        name: String,
        body: Vec<Command>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(Word),
    End,
}

/// Nothing is nested deeper.
const DEPTH: u32 = 32;

/// Reads a script.
///
/// # Errors
/// A sentence, where it is none or uses what is not known here.
pub(super) fn parse(text: &str) -> Result<Vec<Command>, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    let commands = parser.commands(&[])?;
    match parser.tokens.get(parser.at) {
        None => Ok(commands),
        Some(token) => Err(format!("{} stands where it ends nothing", shown(token))),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(word) => format!("{:?}", word.plain().unwrap_or("a word")),
        Token::End => "the end of a command".into(),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut word: Option<Word> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | ';' => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(Token::End);
            }
            c if c.is_whitespace() => tokens.extend(word.take().map(Token::Word)),
            '#' if word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            '\\' => match chars.next() {
                // The line goes on.
                Some('\n') | None => {}
                Some(c) => word.get_or_insert_default().push(c),
            },
            '\'' => {
                let word = word.get_or_insert_default();
                word.quoted = true;
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a quote is not closed".into()),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                word.quoted = true;
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('$') => variable(word, &mut chars, true),
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$')) => word.push(c),
                            Some('\n') => {}
                            Some(c) => {
                                word.push('\\');
                                word.push(c);
                            }
                            None => return Err("a quote is not closed".into()),
                        },
                        Some(c) => word.push(c),
                        None => return Err("a quote is not closed".into()),
                    }
                }
            }
            '$' => variable(word.get_or_insert_default(), &mut chars, false),
            '&' | '|' | '<' | '>' => {
                return Err(format!("{c:?} outside of quotes means nothing to GRUB"));
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    tokens.extend(word.map(Token::Word));
    tokens.push(Token::End);
    Ok(tokens)
}

/// A variable's name, after its `$`. A `$` that names none stands for itself.
fn variable(word: &mut Word, chars: &mut std::iter::Peekable<std::str::Chars<'_>>, quoted: bool) {
    let mut name = String::new();
    let named = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    if chars.next_if_eq(&'{').is_some() {
        while let Some(c) = chars.next_if(|c| *c != '}' && *c != '\n') {
            name.push(c);
        }
        // One that is not closed ends with its line.
        chars.next_if_eq(&'}');
    } else if let Some(special) = chars.next_if(|c| "?@*#".contains(*c)) {
        name.push(special);
    } else {
        while let Some(c) = chars.next_if(named) {
            name.push(c);
        }
    }
    if name.is_empty() {
        word.push('$');
    } else {
        word.parts.push(Part::Variable { name, quoted });
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: u32,
}

impl Parser<'_> {
    fn plain(&self) -> Option<&str> {
        match self.tokens.get(self.at) {
            Some(Token::Word(word)) => word.plain(),
            _ => None,
        }
    }

    fn skip_ends(&mut self) {
        while self.tokens.get(self.at) == Some(&Token::End) {
            self.at += 1;
        }
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.plain() == Some(word) {
            self.at += 1;
            return Ok(());
        }
        let found = self.tokens.get(self.at).map_or("nothing".into(), shown);
        Err(format!("{found} stands where {word:?} should"))
    }

    /// Commands up to one of these words, which is left.
    fn commands(&mut self, until: &[&str]) -> Result<Vec<Command>, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("it is nested too deep".into());
        }
        let mut commands = Vec::new();
        loop {
            self.skip_ends();
            if self.at >= self.tokens.len() || self.plain().is_some_and(|p| until.contains(&p)) {
                self.depth -= 1;
                return Ok(commands);
            }
            commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Result<Command, String> {
        match self.plain() {
            Some("if") => self.branches(),
            Some("function") => {
                self.at += 1;
                let name = self.plain().ok_or("a function has no name")?.to_owned();
                self.at += 1;
                let body = self.block()?;
                Ok(Command::Function { name, body })
            }
            Some(word @ ("while" | "until" | "for")) => {
                Err(format!("it has a loop ({word}), which is not known here"))
            }
            Some(word @ ("then" | "elif" | "else" | "fi" | "do" | "done" | "{" | "}")) => {
                Err(format!("{word:?} stands where a command should"))
            }
            _ => self.simple(),
        }
    }

    fn simple(&mut self) -> Result<Command, String> {
        let mut words = Vec::new();
        while let Some(Token::Word(word)) = self.tokens.get(self.at) {
            if word.plain() == Some("{") {
                let block = Some(self.block()?);
                return Ok(Command::Simple { words, block });
            }
            // It closes the block that the command stands in.
            if word.plain() == Some("}") && !words.is_empty() {
                break;
            }
            words.push(word.clone());
            self.at += 1;
        }
        Ok(Command::Simple { words, block: None })
    }

    fn block(&mut self) -> Result<Vec<Command>, String> {
        self.skip_ends();
        self.expect("{")?;
        let body = self.commands(&["}"])?;
        self.expect("}")?;
        Ok(body)
    }

    fn branches(&mut self) -> Result<Command, String> {
        let mut branches = Vec::new();
        loop {
            // `if` or `elif`.
            self.at += 1;
            let condition = self.commands(&["then"])?;
            self.expect("then")?;
            let body = self.commands(&["elif", "else", "fi"])?;
            branches.push((condition, body));
            if self.plain() != Some("elif") {
                break;
            }
        }
        let mut otherwise = Vec::new();
        if self.plain() == Some("else") {
            self.at += 1;
            otherwise = self.commands(&["fi"])?;
        }
        self.expect("fi")?;
        Ok(Command::If {
            branches,
            otherwise,
        })
    }
}
