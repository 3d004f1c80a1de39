using Npgsql;

namespace PgEntra;

/// <summary>A server refused a login with a token. The message is the server's, with an explanation.</summary>
/// <remarks>
/// The explanation contains the role and the origin of its name, the token's principal, and what to do, such as the SQL
/// statement that creates a missing role. It never contains the token.
/// </remarks>
public sealed class EntraLoginException : NpgsqlException
{
    internal EntraLoginException(PostgresException error, string explanation)
        : base($"{error.MessageText}\n{explanation}", error) =>
        (Error, Explanation) = (error, explanation);

    /// <summary>The server's error, also the <see cref="Exception.InnerException"/>.</summary>
    public PostgresException Error { get; }

    /// <summary>The explanation, without the server's message.</summary>
    public string Explanation { get; }

    /// <inheritdoc/>
    public override string SqlState => Error.SqlState;

    /// <inheritdoc/>
    public override bool IsTransient => Error.IsTransient;
}
