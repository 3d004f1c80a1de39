//! Quoting for POSIX shells.

/// Returns the text as one word of a POSIX shell: in single quotes, in which only the single quote itself is special.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_one_word_of_a_shell() {
        for text in ["app-mi", "", "'$(touch /tmp/x)`id`\"\\!*? ~", "a'b''c", "ä€", "-n"] {
            let script = format!("printf '%s|' {} end", quoted(text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{text}|end|"));
        }
    }
}
