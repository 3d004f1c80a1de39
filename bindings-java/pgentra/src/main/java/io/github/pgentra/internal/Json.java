package io.github.pgentra.internal;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Reads and writes the JSON documents of the engine. The main artifact has no dependency that could. */
public final class Json {
    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** Reads a document into maps, lists, strings, numbers (Long or Double), booleans and null. */
    public static Object read(String text) {
        Json reader = new Json(text);
        Object value = reader.value();
        reader.skip();
        if (reader.at < text.length()) {
            throw reader.invalid();
        }
        return value;
    }

    /** Reads a document that is an object. */
    @SuppressWarnings("unchecked")
    public static Map<String, Object> object(String text) {
        return text == null ? Map.of() : (Map<String, Object>) read(text);
    }

    /** Writes maps, collections, strings, numbers, booleans and null. Entries whose value is null are left out. */
    public static String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(out, value);
        return out.toString();
    }

    private static void write(StringBuilder out, Object value) {
        if (value instanceof Map<?, ?> map) {
            String separator = "{";
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                if (entry.getValue() != null) {
                    out.append(separator);
                    quote(out, entry.getKey().toString());
                    write(out.append(':'), entry.getValue());
                    separator = ",";
                }
            }
            out.append(separator.equals("{") ? "{}" : "}");
        } else if (value instanceof Collection<?> list) {
            String separator = "[";
            for (Object element : list) {
                write(out.append(separator), element);
                separator = ",";
            }
            out.append(list.isEmpty() ? "[]" : "]");
        } else if (value == null || value instanceof Number || value instanceof Boolean) {
            out.append(value);
        } else {
            quote(out, value.toString());
        }
    }

    private static void quote(StringBuilder out, String text) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ') {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        out.append('"');
    }

    private Object value() {
        skip();
        if (at == text.length()) {
            throw invalid();
        }
        switch (text.charAt(at)) {
            case '{': {
                Map<String, Object> map = new LinkedHashMap<>();
                at++;
                for (boolean first = true; !ends('}', first); first = false) {
                    skip();
                    String name = string();
                    skip();
                    expect(':');
                    map.put(name, value());
                }
                return map;
            }
            case '[': {
                List<Object> list = new ArrayList<>();
                at++;
                for (boolean first = true; !ends(']', first); first = false) {
                    list.add(value());
                }
                return list;
            }
            case '"':
                return string();
            case 't':
                return literal("true", Boolean.TRUE);
            case 'f':
                return literal("false", Boolean.FALSE);
            case 'n':
                return literal("null", null);
            default:
                return number();
        }
    }

    /** Whether the collection ends here; reads the comma before a further element. */
    private boolean ends(char end, boolean first) {
        skip();
        if (at < text.length() && text.charAt(at) == end) {
            at++;
            return true;
        }
        if (!first) {
            expect(',');
        }
        return false;
    }

    private String string() {
        expect('"');
        StringBuilder out = new StringBuilder();
        while (at < text.length()) {
            char c = text.charAt(at++);
            if (c == '"') {
                return out.toString();
            }
            if (c != '\\') {
                out.append(c);
                continue;
            }
            if (at == text.length()) {
                break;
            }
            char escaped = text.charAt(at++);
            int index = "bfnrt".indexOf(escaped);
            if (escaped == 'u' && at + 4 <= text.length()) {
                try {
                    out.append((char) Integer.parseInt(text, at, at + 4, 16));
                } catch (NumberFormatException e) {
                    throw invalid();
                }
                at += 4;
            } else {
                out.append(index < 0 ? escaped : "\b\f\n\r\t".charAt(index));
            }
        }
        throw invalid();
    }

    private Object number() {
        int start = at;
        while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
        String number = text.substring(start, at);
        try {
            return number.matches("-?\\d{1,18}") ? (Object) Long.valueOf(number) : Double.valueOf(number);
        } catch (NumberFormatException e) {
            throw invalid();
        }
    }

    private Object literal(String word, Object value) {
        if (!text.startsWith(word, at)) {
            throw invalid();
        }
        at += word.length();
        return value;
    }

    private void expect(char c) {
        if (at == text.length() || text.charAt(at) != c) {
            throw invalid();
        }
        at++;
    }

    private void skip() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    // The text may be a secret, so the message holds its position alone.
    private IllegalArgumentException invalid() {
        return new IllegalArgumentException("invalid JSON at character " + at);
    }
}
