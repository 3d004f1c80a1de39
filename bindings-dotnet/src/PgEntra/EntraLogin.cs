namespace PgEntra;

/// <summary>A role name, and the token that is its password.</summary>
public sealed class EntraLogin
{
    internal EntraLogin(string user, string password, string userSource) =>
        (User, Password, UserSource) = (user, password, userSource);

    /// <summary>The role to log in as.</summary>
    public string User { get; }

    /// <summary>The token. It is a secret: send it over TLS only.</summary>
    public string Password { get; }

    /// <summary>
    /// Where the role's name came from: <c>user</c>, <c>PGUSER</c>, a claim's name, <c>management token</c>,
    /// <c>fallback_username</c>.
    /// </summary>
    public string UserSource { get; }

    /// <summary>Returns the role, never the token.</summary>
    public override string ToString() => $"{User} (by {UserSource})";
}
