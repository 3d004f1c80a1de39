using System.Collections.Concurrent;
using System.Text.Json;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>The engine's view of a credential object: its document, and the custom credentials in it.</summary>
internal sealed class CredentialSource
{
    private const int MostKept = 64;

    private static CredentialSource? defaultChain;

    private readonly Dictionary<string, CredentialHandle> opened = [];
    private readonly ConcurrentDictionary<(string, string?, string?, bool), TokenStringCache<AccessToken>> caches = [];
    private readonly List<CustomCredential> members = [];
    private string? ownConfiguration;

    /// <param name="document">The credential's document, which the engine checks here.</param>
    /// <param name="variables">Values that replace environment variables.</param>
    /// <param name="caFile">The credential's certificate authorities.</param>
    /// <param name="ignored">The options that have no effect.</param>
    /// <exception cref="PgEntraException">The document is not valid.</exception>
    internal CredentialSource(
        CredentialDocument document,
        Dictionary<string, string>? variables = null,
        string? caFile = null,
        IReadOnlyList<string>? ignored = null)
    {
        (Document, Variables, CaFile, Ignored) = (document, variables, caFile, ignored ?? []);
        Json = JsonWriting.Object(writer =>
        {
            writer.WritePropertyName("credential");
            document.Write(writer, members);
        });
        NativeError.Check(Native.CheckConfig(Json, out var error), error);
    }

    /// <summary>The default chain. Created when it is first used, so that its errors are not those of a type initializer.</summary>
    internal static CredentialSource Default => defaultChain ??= new(new("default"));

    internal CredentialDocument Document { get; }

    internal string Json { get; }

    internal IReadOnlyList<string> Ignored { get; }

    internal Dictionary<string, string>? Variables { get; }

    internal string? CaFile { get; }

    /// <summary>The custom credentials in the document, by their index.</summary>
    internal IReadOnlyList<CustomCredential> Members => members;

    /// <summary>Returns an environment variable as the engine reads it.</summary>
    internal string? Variable(string name) =>
        Variables?.GetValueOrDefault(name) ?? Environment.GetEnvironmentVariable(name);

    /// <summary>Returns the configuration document of a provider with this credential.</summary>
    /// <param name="options">Writes the provider's options.</param>
    /// <param name="caFile">The provider's certificate authorities, which replace the credential's.</param>
    internal string Configuration(Action<Utf8JsonWriter>? options = null, string? caFile = null) => JsonWriting.Object(writer =>
    {
        writer.WritePropertyName("credential");
        // The order of writing is the order of `members`.
        Document.Write(writer, []);
        writer.WriteOptional("ca_file", caFile ?? CaFile);
        writer.WriteStartObject("environment");
        // The engine cannot see the variables that .NET code changes.
        foreach (var name in Library.KnownVariables)
        {
            writer.WriteOptional(name, Variable(name));
        }

        writer.WriteEndObject();
        options?.Invoke(writer);
    });

    /// <summary>Opens a provider.</summary>
    /// <param name="configuration">Its configuration document.</param>
    /// <param name="settings">The part of the document that a credential reads.</param>
    internal ProviderHandle Open(string configuration, string settings)
    {
        ProviderHandle provider;
        nint error;
        var code = members.Count == 0
            ? Native.OpenProvider(configuration, out provider, out error)
            : Native.OpenProvider(configuration, Credential(settings), out provider, out error);
        NativeError.Check(code, error);
        return provider;
    }

    /// <summary>Returns the engine's credential, with the environment at the first call.</summary>
    internal CredentialHandle Credential()
    {
        // Two threads may both read the environment; the first result is kept.
        return Credential(ownConfiguration ?? Interlocked.CompareExchange(ref ownConfiguration, Configuration(), null) ?? ownConfiguration!);
    }

    /// <summary>Returns the engine's credential. It is opened once for equal settings, because it holds the tokens of custom credentials.</summary>
    internal CredentialHandle Credential(string settings)
    {
        if (Document.IsCustom)
        {
            return members[0].Handle;
        }

        lock (opened)
        {
            if (!opened.TryGetValue(settings, out var handle))
            {
                // Each change of the environment adds one. Providers keep the credentials that they use.
                if (opened.Count >= MostKept)
                {
                    opened.Clear();
                }

                opened[settings] = handle = OpenWith(settings, [.. members.Select(member => member.Handle)]);
            }

            return handle;
        }
    }

    /// <summary>Returns a credential that shares no tokens, for one call.</summary>
    internal CredentialHandle Uncached(string settings, IReadOnlyList<CredentialHandle> handles) =>
        Document.IsCustom ? handles[0] : OpenWith(settings, handles);

    /// <summary>Returns the cache of the tokens of a request.</summary>
    internal TokenStringCache<AccessToken> CacheOf(TokenRequest request)
    {
        var key = (request.Scope, request.TenantId, request.Claims, request.IsCaeEnabled);
        if (caches.TryGetValue(key, out var cache))
        {
            return cache;
        }

        // Scopes are few, but claims can be any text.
        if (caches.Count >= MostKept)
        {
            caches.Clear();
        }

        return caches.GetOrAdd(key, static _ => new());
    }

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
                NativeError.Check(code, error);
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
