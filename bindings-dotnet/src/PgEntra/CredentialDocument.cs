using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Text.Json;

namespace PgEntra;

/// <summary>A credential in the engine's configuration: a type, its arguments, and the options that all credentials have.</summary>
/// <remarks>Values are texts, booleans, numbers, time spans, lists of texts, other documents, and custom credentials.</remarks>
internal sealed class CredentialDocument
{
    // By the object that a function belongs to, then by the function: each mention of a method makes a new delegate.
    private static readonly ConditionalWeakTable<object, ConcurrentDictionary<Delegate, AssertionCallback>> Assertions = [];

    private readonly List<Entry> entries = [];
    private readonly string? type;

    /// <param name="type">The credential's type; <see langword="null"/> for a part of a credential.</param>
    internal CredentialDocument(string? type)
    {
        this.type = type;
        _ = With("type", type);
    }

    internal bool IsCustom => type == "custom_credential";

    internal static CredentialDocument Custom(CustomCredential credential) =>
        new CredentialDocument("custom_credential").With("index", credential);

    /// <summary>Returns the document of a function's assertions. Credentials with the same function share their tokens.</summary>
    internal static CredentialDocument Asserted(Func<string> callback) => Asserted(callback, () => new(callback));

    /// <inheritdoc cref="Asserted(Func{string})"/>
    internal static CredentialDocument Asserted(Func<CancellationToken, Task<string>> callback) =>
        Asserted(callback, () => new(callback));

    /// <summary>Adds an argument, unless it is <see langword="null"/>.</summary>
    internal CredentialDocument With(string key, object? value)
    {
        if (value is not null)
        {
            entries.Add(new(key, value));
        }

        return this;
    }

    /// <summary>Adds an option, unless it is <see langword="null"/> or empty.</summary>
    internal CredentialDocument Option(string key, string? value) => With(key, string.IsNullOrEmpty(value) ? null : value);

    /// <summary>Writes the document. Each custom credential is added to <paramref name="members"/> and written as its index.</summary>
    internal void Write(Utf8JsonWriter writer, List<CustomCredential> members)
    {
        writer.WriteStartObject();
        foreach (var entry in entries)
        {
            writer.WritePropertyName(entry.Key);
            Write(writer, entry.Value, members);
        }

        writer.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter writer, object value, List<CustomCredential> members)
    {
        switch (value)
        {
            case string text:
                writer.WriteStringValue(text);
                break;
            case bool flag:
                writer.WriteBooleanValue(flag);
                break;
            case int number:
                writer.WriteNumberValue(number);
                break;
            case long number:
                writer.WriteNumberValue(number);
                break;
            case TimeSpan span:
                writer.WriteNumberValue(span.TotalSeconds);
                break;
            case CredentialDocument document:
                document.Write(writer, members);
                break;
            case CustomCredential custom:
                writer.WriteNumberValue(members.Count);
                members.Add(custom);
                break;
            case IEnumerable<string> texts:
                writer.WriteStartArray();
                foreach (var text in texts)
                {
                    writer.WriteStringValue(text);
                }

                writer.WriteEndArray();
                break;
            case IEnumerable<CredentialDocument> documents:
                writer.WriteStartArray();
                foreach (var document in documents)
                {
                    document.Write(writer, members);
                }

                writer.WriteEndArray();
                break;
            default:
                throw new NotSupportedException(value.GetType().Name);
        }
    }

    private static CredentialDocument Asserted(Delegate callback, Func<AssertionCallback> create)
    {
        ArgumentNullException.ThrowIfNull(callback);
        // A static method belongs to no object.
        var owner = callback.Target ?? typeof(AssertionCallback);
        return Custom(Assertions.GetValue(owner, static _ => []).GetOrAdd(callback, _ => create()));
    }

    // Not a record: its ToString would contain a secret.
    private sealed class Entry(string key, object value)
    {
        internal string Key => key;

        internal object Value => value;
    }
}
