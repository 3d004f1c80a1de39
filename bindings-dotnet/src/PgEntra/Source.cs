using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Text.Json;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>A credential as the engine's configuration describes it: a type, its arguments, and the options of all.</summary>
/// <remarks>Values are texts, booleans, numbers, lists of texts, other documents, and credentials of the program.</remarks>
internal sealed class CredentialDocument
{
    // By the object that a function belongs to, then by the function: a delegate is a new one at each mention of its method.
    private static readonly ConditionalWeakTable<object, ConcurrentDictionary<Delegate, Assertion>> Assertions = [];

    private readonly List<Entry> entries = [];
    private readonly string? type;

    /// <param name="type">The type; none: a part of one.</param>
    internal CredentialDocument(string? type)
    {
        this.type = type;
        _ = With("type", type);
    }

    internal static CredentialDocument Host(ForeignCredential credential) =>
        new CredentialDocument("host").With("index", credential);

    /// <summary>What a function asserts; the same function is the same credential, whose tokens all who name it share.</summary>
    internal static CredentialDocument Asserted(Func<string> callback) => Asserted(callback, () => new(callback));

    /// <inheritdoc cref="Asserted(Func{string})"/>
    internal static CredentialDocument Asserted(Func<CancellationToken, Task<string>> callback) =>
        Asserted(callback, () => new(callback));

    internal bool IsHost => type == "custom_credential";

    /// <summary>Adds an argument, unless it is not given.</summary>
    internal CredentialDocument With(string key, object? value)
    {
        if (value is not null)
        {
            entries.Add(new(key, value));
        }

        return this;
    }

    /// <summary>Adds an option, for which an empty text counts as not given.</summary>
    internal CredentialDocument Option(string key, string? value) => With(key, string.IsNullOrEmpty(value) ? null : value);

    /// <summary>Writes it; credentials of the program become their places in <paramref name="members"/>.</summary>
    internal void Write(Utf8JsonWriter writer, List<ForeignCredential> members)
    {
        writer.WriteStartObject();
        foreach (var entry in entries)
        {
            writer.WritePropertyName(entry.Key);
            Write(writer, entry.Value, members);
        }

        writer.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter writer, object value, List<ForeignCredential> members)
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
            case ForeignCredential foreign:
                writer.WriteNumberValue(members.Count);
                members.Add(foreign);
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

    private static CredentialDocument Asserted(Delegate callback, Func<Assertion> make)
    {
        ArgumentNullException.ThrowIfNull(callback);
        // A static method belongs to no object.
        var owner = callback.Target ?? typeof(Assertion);
        return Host(Assertions.GetValue(owner, static _ => []).GetOrAdd(callback, _ => make()));
    }

    // No record: that would show a secret as text.
    private sealed class Entry(string key, object value)
    {
        internal string Key => key;

        internal object Value => value;
    }
}

/// <summary>What a credential object stands for: a document for the engine, with the program's own credentials in it.</summary>
internal sealed class CredentialSource
{
    internal static readonly CredentialSource Default = new(new("default"));

    private const int MostKept = 64;

    private readonly Dictionary<string, CredentialHandle> opened = [];
    private readonly ConcurrentDictionary<(string, string?, string?, bool), KnownToken> known = [];
    private readonly string json;
    private readonly List<ForeignCredential> members = [];
    private readonly bool isHost;
    private readonly Dictionary<string, string>? variables;
    private readonly string? caFile;
    private string? own;

    /// <param name="document">What the engine builds the credential from; what is wrong with it is thrown.</param>
    /// <param name="variables">What it is to find in place of some environment variables.</param>
    /// <param name="caFile">Certificate authorities of its own.</param>
    /// <param name="ignored">Options that have no effect.</param>
    internal CredentialSource(
        CredentialDocument document,
        Dictionary<string, string>? variables = null,
        string? caFile = null,
        IReadOnlyList<string>? ignored = null)
    {
        Ignored = ignored ?? [];
        Document = document;
        isHost = document.IsHost;
        this.variables = variables;
        this.caFile = caFile;
        json = Library.Json(writer =>
        {
            writer.WritePropertyName("credential");
            document.Write(writer, members);
        });
        Library.Check(Native.CheckConfig(json, out var error), error);
    }

    internal CredentialDocument Document { get; }

    internal string Json => json;

    internal IReadOnlyList<string> Ignored { get; }

    internal Dictionary<string, string>? Variables => variables;

    internal string? CaFile => caFile;

    /// <summary>The credentials of the program that take part.</summary>
    internal IReadOnlyList<ForeignCredential> Members => members;

    /// <summary>An environment variable as the engine will see it.</summary>
    internal string? Variable(string name) =>
        variables?.GetValueOrDefault(name) ?? Environment.GetEnvironmentVariable(name);

    /// <summary>The engine's document of a provider on this credential.</summary>
    /// <param name="options">Writes what the provider adds.</param>
    /// <param name="caFile">The provider's own authorities, which win.</param>
    internal string Configuration(Action<Utf8JsonWriter>? options = null, string? caFile = null) => Library.Json(writer =>
    {
        writer.WritePropertyName("credential");
        // The index is the place in `members`, which is the order of writing.
        Document.Write(writer, []);
        if ((caFile ?? this.caFile) is { } authorities)
        {
            writer.WriteString("ca_file", authorities);
        }

        writer.WriteStartObject("environment");
        // As .NET sees them now: the engine cannot see what a program changes.
        foreach (var name in Library.KnownVariables)
        {
            if (Variable(name) is { } value)
            {
                writer.WriteString(name, value);
            }
        }

        writer.WriteEndObject();
        options?.Invoke(writer);
    });

    /// <summary>Opens a provider.</summary>
    /// <param name="configuration">Its whole document.</param>
    /// <param name="settings">The part of it that a credential sees.</param>
    internal ProviderHandle Open(string configuration, string settings)
    {
        ProviderHandle provider;
        nint error;
        var code = members.Count == 0
            ? Native.OpenProvider(configuration, out provider, out error)
            : Native.OpenProvider(configuration, Credential(settings), out provider, out error);
        Library.Check(code, error);
        return provider;
    }

    /// <summary>The engine's credential, with the environment as it is when it is first asked for.</summary>
    internal CredentialHandle Credential()
    {
        // Two threads may open it twice; equal settings share their tokens, and what is found first stays.
        return Credential(own ?? Interlocked.CompareExchange(ref own, Configuration(), null) ?? own!);
    }

    /// <summary>The engine's credential. The tokens of the program's own hang on it, so it is opened once for equal settings.</summary>
    internal CredentialHandle Credential(string settings)
    {
        if (isHost)
        {
            return members[0].Handle;
        }

        lock (opened)
        {
            if (!opened.TryGetValue(settings, out var handle))
            {
                // Each change of the environment makes another one; what is open in providers stays.
                if (opened.Count >= MostKept)
                {
                    opened.Clear();
                }

                opened[settings] = handle = OpenWith(settings, [.. members.Select(member => member.Handle)]);
            }

            return handle;
        }
    }

    /// <summary>The last token of a request.</summary>
    internal KnownToken? Known(TokenRequest request) => known.GetValueOrDefault(Key(request));

    internal void Remember(TokenRequest request, KnownToken token)
    {
        // A program has a handful of scopes, but claims can be anything.
        if (known.Count >= MostKept)
        {
            known.Clear();
        }

        known[Key(request)] = token;
    }

    private static (string Scope, string? TenantId, string? Claims, bool IsCaeEnabled) Key(TokenRequest request) =>
        (request.Scope, request.TenantId, request.Claims, request.IsCaeEnabled);

    /// <summary>A credential that shares nothing, for one call.</summary>
    internal CredentialHandle Uncached(string settings, IReadOnlyList<CredentialHandle> handles) =>
        isHost ? handles[0] : OpenWith(settings, handles);

    private static unsafe CredentialHandle OpenWith(string settings, IReadOnlyList<CredentialHandle> handles)
    {
        var held = 0;
        Span<nint> pointers = stackalloc nint[handles.Count];
        try
        {
            foreach (var handle in handles)
            {
                var added = false;
                handle.DangerousAddRef(ref added);
                pointers[held++] = handle.DangerousGetHandle();
            }

            fixed (nint* first = pointers)
            {
                var code = Native.OpenCredential(settings, first, (nuint)handles.Count, out var credential, out var error);
                Library.Check(code, error);
                return credential;
            }
        }
        finally
        {
            foreach (var handle in handles.Take(held))
            {
                handle.DangerousRelease();
            }
        }
    }
}

/// <summary>A token, and the engine's number of it.</summary>
/// <remarks>No record: that would show it as text.</remarks>
internal sealed class KnownToken(ulong id, AccessToken token)
{
    internal ulong Id => id;

    internal AccessToken Token => token;
}
