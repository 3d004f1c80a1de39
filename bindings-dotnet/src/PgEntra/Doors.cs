using System.Runtime.InteropServices;
using System.Text.Json;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>A token or a login of one credential with one set of options: what the public doors have in common.</summary>
internal sealed class Doors
{
    private readonly CredentialSource source;
    private readonly string configuration;
    private readonly string settings;
    private readonly bool asksEachTime;
    private readonly ProviderHandle provider;

    /// <param name="source">The credential.</param>
    /// <param name="options">The options.</param>
    /// <param name="user">The explicit user.</param>
    /// <param name="host">The server or servers, which may tell the cloud.</param>
    internal unsafe Doors(CredentialSource source, EntraOptions options, string? user, string? host)
    {
        this.source = source;
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
        settings = source.Members.Count > 0 ? source.Configuration(Surroundings, options.CaFile) : "";
        asksEachTime = !options.Cache && source.Members.Count > 0;
        provider = source.Open(configuration, settings);
        Token = new(this, LookForToken, Native.GetAsync, ReadToken);
        Login = new(this, LookForLogin, Native.LoginAsync, ReadLogin);
        Telemetry.Start();
    }

    internal Door<string> Token { get; }

    internal Door<EntraLogin> Login { get; }

    /// <summary>Tells that a server refused a token (the current one, if left out); whether there is a newer one now.</summary>
    internal bool Invalidate(string? refused, CancellationToken cancellationToken)
    {
        using var asked = new Asked(this);
        return Waiting.Block(asked.Members, StartInvalidate(asked.Provider, refused), ReadIsNewer, cancellationToken);
    }

    internal async Task<bool> InvalidateAsync(string? refused, CancellationToken cancellationToken)
    {
        using var asked = new Asked(this);
        return await Waiting.AwaitAsync(asked.Members, StartInvalidate(asked.Provider, refused), ReadIsNewer, cancellationToken)
            .ConfigureAwait(false);
    }

    internal TokenStats Stats()
    {
        Library.Check(Native.GetStats(provider, out var json, out var error), error);
        using var document = JsonDocument.Parse(Library.Take(json)!);
        return new(document.RootElement);
    }

    /// <summary>Ends the waits under way.</summary>
    internal void Close() => provider.Dispose();

    private static string? LookForToken(ProviderHandle provider, ref ulong id)
    {
        Library.Check(Native.TryGet(provider, ref id, out var token, out _, out var error), error);
        return token == 0 ? null : Library.Take(token);
    }

    private static EntraLogin? LookForLogin(ProviderHandle provider, ref ulong id)
    {
        var code = Native.TryLogin(
            provider, ref id, out var user, out var password, out var userSource, out _, out var error);
        Library.Check(code, error);
        return user == 0 ? null : new(Library.Take(user)!, Library.Take(password)!, Borrow(userSource));
    }

    private static string ReadToken(in Outcome outcome) => Borrow(outcome.Token);

    private static EntraLogin ReadLogin(in Outcome outcome) =>
        new(Borrow(outcome.User), Borrow(outcome.Token), Borrow(outcome.UserSource));

    private static bool ReadIsNewer(in Outcome outcome) => outcome.Token != 0;

    private static string Borrow(nint text) => Marshal.PtrToStringUTF8(text) ?? "";

    private static unsafe StartCall StartInvalidate(ProviderHandle provider, string? refused) =>
        (callback, id, out operation, out error) =>
            Native.InvalidateAsync(provider, refused, -1, callback, id, out operation, out error);

    /// <summary>A door: from memory where that has what is asked for, and else by waiting for it.</summary>
    /// <param name="doors">Whose door it is.</param>
    /// <param name="look">Looks into the engine's memory.</param>
    /// <param name="start">Begins a call of the engine's.</param>
    /// <param name="read">Makes the result of its outcome.</param>
    internal sealed class Door<T>(Doors doors, Look<T> look, Start start, ReadOutcome<T> read)
        where T : class
    {
        private Known? known;

        /// <summary>Blocks only while there is none: the same object again as long as it is the same token.</summary>
        internal T Get(TimeSpan? limit, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return Try() ?? Wait(limit, cancellationToken);
        }

        /// <summary>Blocks no thread.</summary>
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
            var before = known;
            var id = before?.Id ?? 0;
            if (look(doors.provider, ref id) is { } found)
            {
                known = new(id, found);
                return found;
            }

            return id == 0 ? null : before?.Value;
        }

        private T Wait(TimeSpan? limit, CancellationToken cancellationToken)
        {
            using var asked = new Asked(doors);
            return Waiting.Block(asked.Members, StartOn(asked.Provider, limit), Read, cancellationToken);
        }

        private async Task<T> WaitAsync(TimeSpan? limit, CancellationToken cancellationToken)
        {
            using var asked = new Asked(doors);
            return await Waiting.AwaitAsync(asked.Members, StartOn(asked.Provider, limit), Read, cancellationToken)
                .ConfigureAwait(false);
        }

        /// <summary>One object for all who waited for it.</summary>
        private T Read(in Outcome outcome)
        {
            var before = known;
            if (before?.Id == outcome.Id)
            {
                return before.Value;
            }

            var found = read(outcome);
            known = new(outcome.Id, found);
            return found;
        }

        private unsafe StartCall StartOn(ProviderHandle provider, TimeSpan? limit)
        {
            // Negative: the option's.
            var milliseconds = limit is { } span ? (int)Math.Clamp(span.TotalMilliseconds, 1, int.MaxValue) : -1;
            return (callback, id, out operation, out error) =>
                start(provider, milliseconds, callback, id, out operation, out error);
        }

        // No record: that would show a token as text.
        private sealed class Known(ulong id, T value)
        {
            internal ulong Id => id;

            internal T Value => value;
        }
    }

    /// <summary>A look into the engine's memory: none where the id stays the same, or is 0.</summary>
    internal delegate T? Look<out T>(ProviderHandle provider, ref ulong id);

    /// <summary>A function of the engine's that begins a call on a provider.</summary>
    internal unsafe delegate int Start(
        ProviderHandle provider,
        int timeoutMs,
        delegate* unmanaged[Cdecl]<nint, Outcome*, void> callback,
        nint userData,
        out OperationHandle operation,
        out nint error);

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
            var credential = doors.source.Uncached(doors.settings, handles);
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
