using System.Text.Json;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>A token and a login for PostgreSQL, kept fresh, for whoever builds connections themselves.</summary>
/// <remarks>
/// Ask at each new connection: the answer comes from memory. Providers of equal settings share one token. Safe for any
/// thread. What goes wrong is a <see cref="PgEntraException"/>.
/// </remarks>
public sealed class TokenProvider : IDisposable
{
    private readonly Doors doors;

    /// <summary>Makes a provider. Nothing is fetched yet.</summary>
    /// <param name="credential">Who logs in. Default: <see cref="DefaultAzureCredential"/>.</param>
    /// <param name="options">The options, read once.</param>
    /// <exception cref="PgEntraException">The settings are not valid.</exception>
    public TokenProvider(PgEntraCredential? credential = null, EntraOptions? options = null)
    {
        options ??= new();
        var plan = options.ServiceConnector is null ? null : Planned(credential, options);
        doors = new(
            credential?.Source ?? plan?.Credential ?? CredentialSource.Default,
            options,
            options.User ?? plan?.User,
            options.Host ?? plan?.Host);
    }

    /// <summary>What every cached token of this process is about.</summary>
    /// <returns>A list with one entry for each.</returns>
    public static IReadOnlyList<TokenStats> AllStats()
    {
        Library.Check(Native.GetStats(out var json, out var error), error);
        using var document = JsonDocument.Parse(Library.Take(json)!);
        return [.. document.RootElement.EnumerateArray().Select(cell => new TokenStats(cell))];
    }

    /// <summary>A token: the password for PostgreSQL. Blocks only while there is none.</summary>
    /// <param name="cancellationToken">Ends the wait; the fetch goes on for others.</param>
    /// <returns>The token: the same string again as long as it is the same token.</returns>
    public string GetToken(CancellationToken cancellationToken = default) => doors.Token.Get(null, cancellationToken);

    /// <summary>A token: the password for PostgreSQL. Blocks no thread.</summary>
    /// <param name="cancellationToken">Ends the wait; the fetch goes on for others.</param>
    /// <returns>The token: the same string again as long as it is the same token.</returns>
    public ValueTask<string> GetTokenAsync(CancellationToken cancellationToken = default) =>
        doors.Token.GetAsync(null, cancellationToken);

    /// <summary>A role name and a token. Blocks only while there is none.</summary>
    /// <param name="cancellationToken">Ends the wait; the fetch goes on for others.</param>
    /// <returns>User and password.</returns>
    public EntraLogin Login(CancellationToken cancellationToken = default) => doors.Login.Get(null, cancellationToken);

    /// <summary>A role name and a token. Blocks no thread.</summary>
    /// <param name="cancellationToken">Ends the wait; the fetch goes on for others.</param>
    /// <returns>User and password.</returns>
    public ValueTask<EntraLogin> LoginAsync(CancellationToken cancellationToken = default) =>
        doors.Login.GetAsync(null, cancellationToken);

    /// <summary>Tells that a server refused a login with a token. Blocks while a newer one is fetched.</summary>
    /// <param name="token">The refused one. Default: the current one.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Whether there is a newer one, worth one more try; if not, the server's own error stands.</returns>
    public bool Invalidate(string? token = null, CancellationToken cancellationToken = default) =>
        doors.Invalidate(token, cancellationToken);

    /// <summary>As <see cref="Invalidate"/>, without blocking a thread.</summary>
    /// <param name="token">The refused one. Default: the current one.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Whether there is a newer one, worth one more try.</returns>
    public Task<bool> InvalidateAsync(string? token = null, CancellationToken cancellationToken = default) =>
        doors.InvalidateAsync(token, cancellationToken);

    /// <summary>What the provider knows of itself. Fetches nothing.</summary>
    /// <returns>The figures.</returns>
    public TokenStats Stats() => doors.Stats();

    /// <summary>Ends the waits under way. The cached token stays for others.</summary>
    public void Dispose() => doors.Close();

    /// <summary>Plans with Service Connector's variables, which give the server, the role and the identity.</summary>
    private static ConnectionPlan Planned(PgEntraCredential? credential, EntraOptions options)
    {
        var plan = ConnectionPlan.Make(
            writer =>
            {
                writer.WriteOptional("host", options.Host);
                writer.WriteOptional("user", options.User);
                // The application opens the connection, with a mode of its own.
                writer.WriteString("sslmode", "verify-full");
            },
            options,
            credential);
        return plan.UsesEntra
            ? plan
            : throw Library.Error(
                ErrorKind.InvalidConnection,
                "Azure Service Connector's variables have a user and a password, so Entra is not used",
                "Use that password, or leave out ServiceConnector.");
    }
}

/// <summary>A role name, and the token that is its password.</summary>
public sealed class EntraLogin
{
    internal EntraLogin(string user, string password, string userSource) =>
        (User, Password, UserSource) = (user, password, userSource);

    /// <summary>The role to log in as.</summary>
    public string User { get; }

    /// <summary>The token: a secret, to be sent over TLS only.</summary>
    public string Password { get; }

    /// <summary>
    /// Where the role's name came from: <c>user</c>, <c>PGUSER</c>, a claim's name, <c>management token</c>,
    /// <c>fallback_username</c>.
    /// </summary>
    public string UserSource { get; }

    /// <summary>The role, never the token.</summary>
    public override string ToString() => $"{User} (by {UserSource})";
}

/// <summary>What is known of a cached token.</summary>
public sealed class TokenStats
{
    internal TokenStats(JsonElement cell)
    {
        Credential = Text(cell, "credential") ?? "";
        Scope = Text(cell, "scope") ?? "";
        if (cell.TryGetProperty("principal", out var principal) && principal.ValueKind == JsonValueKind.Object)
        {
            PrincipalKind = Text(principal, "kind");
            ObjectId = Text(principal, "oid");
            TenantId = Text(principal, "tid");
        }

        Role = Text(cell, "role");
        RoleSource = Text(cell, "role_source");
        ExpiresIn = Seconds(cell, "expires_in");
        RefreshDueIn = Seconds(cell, "refresh_due_in");
        LastSuccess = Seconds(cell, "last_success") is { } since ? DateTimeOffset.UnixEpoch + since : null;
        LastError = Text(cell, "last_error");
        ConsecutiveFailures = (int)Number(cell, "consecutive_failures");
        InFlight = cell.TryGetProperty("in_flight", out var flag) && flag.ValueKind == JsonValueKind.True;
        Fetches = Number(cell, "fetches");
        Failures = Number(cell, "failures");
        Refreshes = Number(cell, "refreshes");
        Invalidations = Number(cell, "invalidations");
    }

    /// <summary>The credential's class.</summary>
    public string Credential { get; }

    /// <summary>What the token is for.</summary>
    public string Scope { get; }

    /// <summary>Whom it is for: <c>user</c>, <c>user_assigned</c>, <c>service_principal</c> and so on.</summary>
    public string? PrincipalKind { get; }

    /// <summary>The principal's object id.</summary>
    public string? ObjectId { get; }

    /// <summary>The principal's tenant.</summary>
    public string? TenantId { get; }

    /// <summary>The role of the last login; of a provider only.</summary>
    public string? Role { get; }

    /// <summary>Where the role's name came from; of a provider only.</summary>
    public string? RoleSource { get; }

    /// <summary>Until the token's end; negative once passed.</summary>
    public TimeSpan? ExpiresIn { get; }

    /// <summary>Until the token is worth refreshing.</summary>
    public TimeSpan? RefreshDueIn { get; }

    /// <summary>When a fetch last brought a token.</summary>
    public DateTimeOffset? LastSuccess { get; }

    /// <summary>The first line of the last failure.</summary>
    public string? LastError { get; }

    /// <summary>Failed fetches since the last that brought a token.</summary>
    public int ConsecutiveFailures { get; }

    /// <summary>Whether a fetch is under way.</summary>
    public bool InFlight { get; }

    /// <summary>Fetches begun.</summary>
    public long Fetches { get; }

    /// <summary>Fetches failed.</summary>
    public long Failures { get; }

    /// <summary>Fetches begun in the background, past the refresh point.</summary>
    public long Refreshes { get; }

    /// <summary>Refreshes forced by a refused login.</summary>
    public long Invalidations { get; }

    private static string? Text(JsonElement cell, string key) =>
        cell.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static long Number(JsonElement cell, string key) =>
        cell.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetInt64() : 0;

    private static TimeSpan? Seconds(JsonElement cell, string key) =>
        cell.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number
            ? TimeSpan.FromSeconds(value.GetDouble())
            : null;
}
