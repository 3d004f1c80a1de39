namespace PgEntra.Identity;

/// <summary>An access token with its end.</summary>
/// <param name="token">The token: a secret, as good as a password while it lasts.</param>
/// <param name="expiresOn">When it ends.</param>
/// <param name="refreshOn">When it is worth another one; left out, that follows from its lifetime.</param>
public readonly struct AccessToken(string token, DateTimeOffset expiresOn, DateTimeOffset? refreshOn = null)
    : IEquatable<AccessToken>
{
    /// <summary>The token: a secret, as good as a password while it lasts.</summary>
    public string Token { get; } = token;

    /// <summary>When it ends.</summary>
    public DateTimeOffset ExpiresOn { get; } = expiresOn;

    /// <summary>When it is worth another one; none: that follows from its lifetime.</summary>
    public DateTimeOffset? RefreshOn { get; } = refreshOn;

    /// <summary>Whether both are the same token.</summary>
    public static bool operator ==(AccessToken left, AccessToken right) => left.Equals(right);

    /// <summary>Whether they are different tokens.</summary>
    public static bool operator !=(AccessToken left, AccessToken right) => !left.Equals(right);

    /// <inheritdoc/>
    public bool Equals(AccessToken other) =>
        Token == other.Token && ExpiresOn == other.ExpiresOn && RefreshOn == other.RefreshOn;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is AccessToken other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Token, ExpiresOn, RefreshOn);

    /// <summary>The end of the token, never the token.</summary>
    public override string ToString() => $"AccessToken until {ExpiresOn:u}";
}

/// <summary>What a token is asked for.</summary>
/// <param name="scope">The scope, such as <c>https://ossrdbms-aad.database.windows.net/.default</c>.</param>
public sealed class TokenRequest(string scope)
{
    /// <summary>The scope, such as <c>https://ossrdbms-aad.database.windows.net/.default</c>.</summary>
    public string Scope { get; } = scope;

    /// <summary>Another tenant than the credential's own.</summary>
    public string? TenantId { get; init; }

    /// <summary>A claims challenge (JSON).</summary>
    public string? Claims { get; init; }

    /// <summary>Whether the token may be revoked by a claims challenge. Such tokens have a cache of their own.</summary>
    public bool IsCaeEnabled { get; init; }
}
