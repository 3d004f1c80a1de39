using System.Text.Json;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>A token or a login of one credential with one set of options: what the public doors have in common.</summary>
internal sealed class Doors
{
    private readonly CredentialSource source;
    private readonly object? owner;
    private readonly string configuration;
    private readonly Func<string> settings;
    private readonly bool asksEachTime;
    private readonly ProviderHandle provider;
    private KnownToken? knownToken;
    private KnownLogin? knownLogin;

    /// <param name="source">The credential.</param>
    /// <param name="owner">The object whose life the tokens of a foreign credential share.</param>
    /// <param name="options">The options.</param>
    /// <param name="user">The explicit user.</param>
    /// <param name="host">The server, which may tell the cloud.</param>
    internal Doors(CredentialSource source, object? owner, EntraOptions options, string? user, string? host)
    {
        this.source = source;
        this.owner = owner;
        void Surroundings(Utf8JsonWriter writer)
        {
            writer.WriteOptional("scope", options.Scope);
            writer.WriteOptional("host", host);
        }

        configuration = source.Configuration(
            writer =>
            {
                Surroundings(writer);
                options.Write(writer, user, source.Members.All(member => member.TakesScope));
            },
            options.CaFile);
        settings = () => source.Configuration(Surroundings, options.CaFile);
        asksEachTime = !options.Cache && source.Members.Count > 0;
        provider = source.Open(configuration, settings);
        Telemetry.Start();
    }

    /// <summary>A token, if one is cached: the same string again as long as it is the same token.</summary>
    internal string? TryToken()
    {
        var known = knownToken;
        var id = known?.Id ?? 0;
        var code = Native.TryGet(provider, ref id, out var token, out var error);
        if (code != 0)
        {
            throw Library.TakeError(error);
        }

        if (known is not null && id == known.Id)
        {
            return known.Token;
        }

        return id == 0 ? null : Remember(id, token);
    }

    internal string Token(TimeSpan? limit, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return TryToken() ?? Block(ReadToken, CallToken(limit), cancellationToken);
    }

    internal ValueTask<string> TokenAsync(TimeSpan? limit, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<string>(cancellationToken);
        }

        string? token;
        try
        {
            token = TryToken();
        }
        catch (Exception failure) when (failure is PgEntraException or ObjectDisposedException)
        {
            return ValueTask.FromException<string>(failure);
        }

        return token is not null ? new(token) : new(AwaitAsync(ReadToken, CallToken(limit), cancellationToken));
    }

    /// <summary>A role name and a token, if a token is cached and its role known.</summary>
    internal EntraLogin? TryLogin()
    {
        var known = knownLogin;
        var id = known?.Id ?? 0;
        var code = Native.TryLogin(provider, ref id, out var user, out var password, out var userSource, out var error);
        if (code != 0)
        {
            throw Library.TakeError(error);
        }

        if (known is not null && id == known.Id)
        {
            return known.Login;
        }

        if (id == 0)
        {
            return null;
        }

        var login = new EntraLogin(Library.Take(user)!, Library.Take(password)!, Borrow(userSource)!);
        knownLogin = new(id, login);
        return login;
    }

    internal EntraLogin Login(TimeSpan? limit, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return TryLogin() ?? Block(ReadLogin, CallLogin(limit), cancellationToken);
    }

    internal ValueTask<EntraLogin> LoginAsync(TimeSpan? limit, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<EntraLogin>(cancellationToken);
        }

        EntraLogin? login;
        try
        {
            login = TryLogin();
        }
        catch (Exception failure) when (failure is PgEntraException or ObjectDisposedException)
        {
            return ValueTask.FromException<EntraLogin>(failure);
        }

        return login is not null ? new(login) : new(AwaitAsync(ReadLogin, CallLogin(limit), cancellationToken));
    }

    /// <summary>Tells that a server refused a token (the current one, if left out); whether there is a newer one now.</summary>
    internal bool Invalidate(string? refused, CancellationToken cancellationToken) =>
        Block(ReadIsNewer, CallInvalidate(refused), cancellationToken);

    internal Task<bool> InvalidateAsync(string? refused, CancellationToken cancellationToken) =>
        AwaitAsync(ReadIsNewer, CallInvalidate(refused), cancellationToken);

    internal TokenStats Stats()
    {
        Library.Check(Native.GetStats(provider, out var json, out var error), error);
        using var document = JsonDocument.Parse(Library.Take(json)!);
        return new(document.RootElement);
    }

    /// <summary>Ends the waits under way.</summary>
    internal void Close() => provider.Dispose();

    private static string ReadToken(in Outcome outcome) => Borrow(outcome.Token)!;

    private static EntraLogin ReadLogin(in Outcome outcome) =>
        new(Borrow(outcome.User)!, Borrow(outcome.Token)!, Borrow(outcome.UserSource)!);

    private static bool ReadIsNewer(in Outcome outcome) => outcome.Token != 0;

    private static string? Borrow(nint text) => System.Runtime.InteropServices.Marshal.PtrToStringUTF8(text);

    private string Remember(ulong id, nint token)
    {
        var text = Library.Take(token)!;
        knownToken = new(id, text);
        return text;
    }

    private static unsafe Call CallToken(TimeSpan? limit) => handle =>
        (callback, id, out operation, out error) =>
            Native.GetAsync(handle, Milliseconds(limit), callback, id, out operation, out error);

    private static unsafe Call CallLogin(TimeSpan? limit) => handle =>
        (callback, id, out operation, out error) =>
            Native.LoginAsync(handle, Milliseconds(limit), callback, id, out operation, out error);

    private static unsafe Call CallInvalidate(string? refused) => handle =>
        (callback, id, out operation, out error) =>
            Native.InvalidateAsync(handle, refused, -1, callback, id, out operation, out error);

    /// <summary>Negative: the option's.</summary>
    private static int Milliseconds(TimeSpan? limit) =>
        limit is { } span ? (int)Math.Clamp(span.TotalMilliseconds, 1, int.MaxValue) : -1;

    private T Block<T>(ReadOutcome<T> read, Call call, CancellationToken cancellationToken)
    {
        using var asked = new Asked(this);
        foreach (var member in asked.Members)
        {
            member.BeforeWaiting();
            member.AddWaitingThread(1);
        }

        try
        {
            return new PendingThread<T>(read).Run(call(asked.Provider), cancellationToken);
        }
        finally
        {
            foreach (var member in asked.Members)
            {
                member.AddWaitingThread(-1);
            }

            GC.KeepAlive(owner);
        }
    }

    private async Task<T> AwaitAsync<T>(ReadOutcome<T> read, Call call, CancellationToken cancellationToken)
    {
        using var asked = new Asked(this);
        foreach (var member in asked.Members)
        {
            member.BeforeWaiting();
        }

        var result = await new PendingTask<T>(read).RunAsync(call(asked.Provider), cancellationToken).ConfigureAwait(false);
        GC.KeepAlive(owner);
        return result;
    }

    /// <summary>A call of the engine's on a provider.</summary>
    private delegate StartCall Call(ProviderHandle provider);

    // No records: those would show a token as text.
    private sealed class KnownToken(ulong id, string token)
    {
        internal ulong Id => id;

        internal string Token => token;
    }

    private sealed class KnownLogin(ulong id, EntraLogin login)
    {
        internal ulong Id => id;

        internal EntraLogin Login => login;
    }

    /// <summary>Who is asked: the shared provider, or without a cache one for this call alone.</summary>
    private readonly struct Asked : IDisposable
    {
        private readonly List<IDisposable>? own;

        internal Asked(Doors doors)
        {
            if (!doors.asksEachTime)
            {
                (Provider, Members) = (doors.provider, doors.source.Members);
                return;
            }

            // For a foreign credential that answers differently by the caller's context.
            ForeignCredential[] members = [.. doors.source.Members.Select(member => member.Once())];
            CredentialHandle[] handles = [.. members.Select(member => member.Handle)];
            var credential = doors.source.Uncached(doors.settings(), handles);
            own = [credential, .. handles];
            Library.Check(Native.OpenProvider(doors.configuration, credential, out var provider, out var error), error);
            own.Add(provider);
            (Provider, Members) = (provider, members);
        }

        internal ProviderHandle Provider { get; }

        internal IReadOnlyList<ForeignCredential> Members { get; }

        public void Dispose() => own?.ForEach(handle => handle.Dispose());
    }
}

/// <summary>What JSON documents are written with.</summary>
internal static class JsonWriting
{
    internal static void WriteOptional(this Utf8JsonWriter writer, string key, string? value)
    {
        if (value is not null)
        {
            writer.WriteString(key, value);
        }
    }
}
