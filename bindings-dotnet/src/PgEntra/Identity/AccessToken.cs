namespace PgEntra.Identity;

/// <summary>An access token with its expiry.</summary>
/// <param name="token">The token. It is a secret, equivalent to a password until it expires.</param>
/// <param name="expiresOn">The expiry.</param>
/// <param name="refreshOn">The refresh point. Default: by the token's lifetime.</param>
public readonly struct AccessToken(string token, DateTimeOffset expiresOn, DateTimeOffset? refreshOn = null)
    : IEquatable<AccessToken>
{
    /// <summary>The token. It is a secret, equivalent to a password until it expires.</summary>
    public string Token { get; } = token;

    /// <summary>The expiry.</summary>
    public DateTimeOffset ExpiresOn { get; } = expiresOn;

    /// <summary>The refresh point; <see langword="null"/>: by the token's lifetime.</summary>
    public DateTimeOffset? RefreshOn { get; } = refreshOn;

    /// <summary>Returns whether both are the same token.</summary>
    public static bool operator ==(AccessToken left, AccessToken right) => left.Equals(right);

    /// <summary>Returns whether they are different tokens.</summary>
    public static bool operator !=(AccessToken left, AccessToken right) => !left.Equals(right);

    /// <inheritdoc/>
    public bool Equals(AccessToken other) =>
        Token == other.Token && ExpiresOn == other.ExpiresOn && RefreshOn == other.RefreshOn;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is AccessToken other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Token, ExpiresOn, RefreshOn);

    /// <summary>Returns the expiry, never the token.</summary>
    public override string ToString() => $"AccessToken until {ExpiresOn:u}";
}

/// <summary>A request for a token.</summary>
/// <param name="scope">The scope, such as <c>https://ossrdbms-aad.database.windows.net/.default</c>.</param>
public sealed class TokenRequest(string scope)
{
    /// <summary>The scope, such as <c>https://ossrdbms-aad.database.windows.net/.default</c>.</summary>
    public string Scope { get; } = scope;

    /// <summary>A tenant other than the credential's own.</summary>
    public string? TenantId { get; init; }

    /// <summary>A claims challenge (JSON).</summary>
    public string? Claims { get; init; }

    /// <summary>Whether the token may be revoked by a claims challenge. Such tokens are cached separately.</summary>
    public bool IsCaeEnabled { get; init; }
}
