using System.Runtime.InteropServices;
using System.Text.Json;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>Obtains tokens and logins of one credential with one set of options. All public entry points use it.</summary>
internal sealed class TokenClient
{
    private readonly CredentialSource source;
    private readonly string configuration;
    private readonly string settings;
    private readonly bool isUncached;
    private readonly ProviderHandle provider;

    /// <param name="source">The credential.</param>
    /// <param name="options">The options.</param>
    /// <param name="user">The explicit user.</param>
    /// <param name="host">The server or servers, by which the cloud may be known.</param>
    internal unsafe TokenClient(CredentialSource source, EntraOptions options, string? user, string? host)
    {
        this.source = source;
        void WriteContext(Utf8JsonWriter writer)
        {
            writer.WriteOptional("scope", options.Scope);
            writer.WriteOptional("host", host);
        }

        configuration = source.Configuration(
            writer =>
            {
                WriteContext(writer);
                options.Write(writer, user, source.Members.All(member => member.TakesScope));
            },
            options.CaFile);
        settings = source.Members.Count > 0 ? source.Configuration(WriteContext, options.CaFile) : "";
        isUncached = !options.Cache && source.Members.Count > 0;
        provider = source.Open(configuration, settings);
        Token = new(this, TryGetToken, Native.GetAsync, ReadToken);
        Login = new(this, TryLogin, Native.LoginAsync, ReadLogin);
        Telemetry.Start();
    }

    /// <summary>Returns the result of a token that the engine has cached: <see langword="null"/> if the id stays the same, or is 0.</summary>
    internal delegate T? TryRead<out T>(ProviderHandle provider, ref ulong id);

    /// <summary>A function of the engine that starts a call on a provider.</summary>
    internal unsafe delegate int StartRequest(
        ProviderHandle provider,
        int timeoutMs,
        delegate* unmanaged[Cdecl]<nint, Outcome*, void> callback,
        nint userData,
        out OperationHandle operation,
        out nint error);

    internal Request<string> Token { get; }

    internal Request<EntraLogin> Login { get; }

    /// <summary>Reports that a server refused a token (default: the current one), and waits for a newer one.</summary>
    /// <returns>Whether there is a newer token.</returns>
    internal bool Invalidate(string? refused, CancellationToken cancellationToken)
    {
        using var target = new Target(this);
        return NativeWait.Block(target.Members, StartInvalidate(target.Provider, refused), ReadIsNewer, cancellationToken);
    }

    /// <inheritdoc cref="Invalidate"/>
    internal async Task<bool> InvalidateAsync(string? refused, CancellationToken cancellationToken)
    {
        using var target = new Target(this);
        return await NativeWait.AwaitAsync(target.Members, StartInvalidate(target.Provider, refused), ReadIsNewer, cancellationToken)
            .ConfigureAwait(false);
    }

    internal TokenStats Stats()
    {
        NativeError.Check(Native.GetStats(provider, out var json, out var error), error);
        using var document = JsonDocument.Parse(NativeString.Take(json)!);
        return new(document.RootElement);
    }

    /// <summary>Ends the waits in progress.</summary>
    internal void Close() => provider.Dispose();

    private static string? TryGetToken(ProviderHandle provider, ref ulong id)
    {
        NativeError.Check(Native.TryGet(provider, ref id, out var token, out _, out var error), error);
        return token == 0 ? null : NativeString.Take(token);
    }

    private static EntraLogin? TryLogin(ProviderHandle provider, ref ulong id)
    {
        var code = Native.TryLogin(
            provider, ref id, out var user, out var password, out var userSource, out _, out var error);
        NativeError.Check(code, error);
        return user == 0 ? null : new(NativeString.Take(user)!, NativeString.Take(password)!, Borrow(userSource));
    }

    private static string ReadToken(in Outcome outcome) => Borrow(outcome.Token);

    private static EntraLogin ReadLogin(in Outcome outcome) =>
        new(Borrow(outcome.User), Borrow(outcome.Token), Borrow(outcome.UserSource));

    private static bool ReadIsNewer(in Outcome outcome) => outcome.Token != 0;

    private static string Borrow(nint text) => Marshal.PtrToStringUTF8(text) ?? "";

    private static unsafe StartCall StartInvalidate(ProviderHandle provider, string? refused) =>
        (callback, id, out operation, out error) =>
            Native.InvalidateAsync(provider, refused, -1, callback, id, out operation, out error);

    /// <summary>A request for a token or a login: returns the cached result, or waits for a fetch.</summary>
    /// <param name="client">The client.</param>
    /// <param name="tryRead">Reads the engine's cache.</param>
    /// <param name="start">Starts a call of the engine.</param>
    /// <param name="read">Converts the outcome of that call.</param>
    internal sealed class Request<T>(TokenClient client, TryRead<T> tryRead, StartRequest start, ReadOutcome<T> read)
        where T : class
    {
        private readonly TokenStringCache<T> cache = new();

        /// <summary>Returns the result; blocks only if no token is cached. Returns the same object as long as the token is the same.</summary>
        internal T Get(TimeSpan? limit, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return Try() ?? Wait(limit, cancellationToken);
        }

        /// <summary>Returns the result without blocking a thread.</summary>
        internal ValueTask<T> GetAsync(TimeSpan? limit, CancellationToken cancellationToken)
        {
            if (cancellationToken.IsCancellationRequested)
            {
                return ValueTask.FromCanceled<T>(cancellationToken);
            }

            try
            {
                return Try() is { } found ? new(found) : new(WaitAsync(limit, cancellationToken));
            }
            catch (Exception failure) when (failure is PgEntraException or ObjectDisposedException)
            {
                return ValueTask.FromException<T>(failure);
            }
        }

        private T? Try()
        {
            var (id, value) = cache.Read();
            if (tryRead(client.provider, ref id) is { } found)
            {
                return cache.Store(id, found);
            }

            return id == 0 ? null : value;
        }

        private T Wait(TimeSpan? limit, CancellationToken cancellationToken)
        {
            using var target = new Target(client);
            return NativeWait.Block(target.Members, StartOn(target.Provider, limit), Read, cancellationToken);
        }

        private async Task<T> WaitAsync(TimeSpan? limit, CancellationToken cancellationToken)
        {
            using var target = new Target(client);
            return await NativeWait.AwaitAsync(target.Members, StartOn(target.Provider, limit), Read, cancellationToken)
                .ConfigureAwait(false);
        }

        /// <summary>Returns one object to all callers that waited for it.</summary>
        private T Read(in Outcome outcome)
        {
            var (id, value) = cache.Read();
            return id != 0 && id == outcome.Id ? value! : cache.Store(outcome.Id, read(outcome));
        }

        private unsafe StartCall StartOn(ProviderHandle provider, TimeSpan? limit)
        {
            // A negative limit selects the one of the options.
            var milliseconds = limit is { } span ? (int)Math.Clamp(span.TotalMilliseconds, 1, int.MaxValue) : -1;
            return (callback, id, out operation, out error) =>
                start(provider, milliseconds, callback, id, out operation, out error);
        }
    }

    /// <summary>The provider of one call: the shared one, or without a cache one for this call alone.</summary>
    private readonly struct Target : IDisposable
    {
        private readonly List<IDisposable>? own;

        internal Target(TokenClient client)
        {
            if (!client.isUncached)
            {
                (Provider, Members) = (client.provider, client.source.Members);
                return;
            }

            // A custom credential may return another token in another caller's context.
            CustomCredential[] members = [.. client.source.Members.Select(member => member.ForOneCall())];
            CredentialHandle[] handles = [.. members.Select(member => member.Handle)];
            var credential = client.source.Uncached(client.settings, handles);
            own = [credential, .. handles];
            NativeError.Check(Native.OpenProvider(client.configuration, credential, out var provider, out var error), error);
            own.Add(provider);
            (Provider, Members) = (provider, members);
        }

        internal ProviderHandle Provider { get; }

        internal IReadOnlyList<CustomCredential> Members { get; }

        public void Dispose() => own?.ForEach(handle => handle.Dispose());
    }
}
