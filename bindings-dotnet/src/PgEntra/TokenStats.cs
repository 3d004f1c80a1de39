using System.Text.Json;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>The statistics of a cached token.</summary>
public sealed class TokenStats
{
    internal TokenStats(JsonElement entry)
    {
        Credential = Text(entry, "credential") ?? "";
        Scope = Text(entry, "scope") ?? "";
        if (entry.TryGetProperty("principal", out var principal) && principal.ValueKind == JsonValueKind.Object)
        {
            PrincipalKind = Text(principal, "kind");
            ObjectId = Text(principal, "oid");
            TenantId = Text(principal, "tid");
        }

        Role = Text(entry, "role");
        RoleSource = Text(entry, "role_source");
        ExpiresIn = Seconds(entry, "expires_in");
        RefreshDueIn = Seconds(entry, "refresh_due_in");
        LastSuccess = Seconds(entry, "last_success") is { } since ? DateTimeOffset.UnixEpoch + since : null;
        LastError = Text(entry, "last_error");
        ConsecutiveFailures = (int)Number(entry, "consecutive_failures");
        InFlight = entry.TryGetProperty("in_flight", out var flag) && flag.ValueKind == JsonValueKind.True;
        Fetches = Number(entry, "fetches");
        Failures = Number(entry, "failures");
        Refreshes = Number(entry, "refreshes");
        Invalidations = Number(entry, "invalidations");
    }

    /// <summary>The credential's class.</summary>
    public string Credential { get; }

    /// <summary>The scope of the token.</summary>
    public string Scope { get; }

    /// <summary>The kind of the token's principal: <c>user</c>, <c>user_assigned</c>, <c>service_principal</c> and so on.</summary>
    public string? PrincipalKind { get; }

    /// <summary>The principal's object id.</summary>
    public string? ObjectId { get; }

    /// <summary>The principal's tenant.</summary>
    public string? TenantId { get; }

    /// <summary>The role of the last login; set by <see cref="TokenProvider.Stats"/> only.</summary>
    public string? Role { get; }

    /// <summary>Where the role's name came from; set by <see cref="TokenProvider.Stats"/> only.</summary>
    public string? RoleSource { get; }

    /// <summary>The time until the token expires; negative after that.</summary>
    public TimeSpan? ExpiresIn { get; }

    /// <summary>The time until the token's refresh point.</summary>
    public TimeSpan? RefreshDueIn { get; }

    /// <summary>The time of the last successful fetch.</summary>
    public DateTimeOffset? LastSuccess { get; }

    /// <summary>The first line of the last failure.</summary>
    public string? LastError { get; }

    /// <summary>The number of failed fetches since the last successful one.</summary>
    public int ConsecutiveFailures { get; }

    /// <summary>Whether a fetch is in progress.</summary>
    public bool InFlight { get; }

    /// <summary>The number of fetches.</summary>
    public long Fetches { get; }

    /// <summary>The number of failed fetches.</summary>
    public long Failures { get; }

    /// <summary>The number of fetches in the background, after the refresh point.</summary>
    public long Refreshes { get; }

    /// <summary>The number of fetches that were forced after login errors.</summary>
    public long Invalidations { get; }

    /// <summary>Reads the statistics of all cached tokens of this process.</summary>
    internal static IReadOnlyList<TokenStats> ReadAll()
    {
        NativeError.Check(Native.GetStats(out var json, out var error), error);
        using var document = JsonDocument.Parse(NativeString.Take(json)!);
        return [.. document.RootElement.EnumerateArray().Select(entry => new TokenStats(entry))];
    }

    private static string? Text(JsonElement entry, string key) =>
        entry.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static long Number(JsonElement entry, string key) =>
        entry.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetInt64() : 0;

    private static TimeSpan? Seconds(JsonElement entry, string key) =>
        entry.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number
            ? TimeSpan.FromSeconds(value.GetDouble())
            : null;
}
