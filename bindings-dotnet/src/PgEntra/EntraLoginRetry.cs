using System.Runtime.ExceptionServices;
using Npgsql;

namespace PgEntra;

/// <summary>Retries a login that the server refused, once, with a newer token, and explains a login error.</summary>
/// <remarks>
/// <para>
/// Npgsql does not report login errors to its password provider, so a data source alone can neither retry nor explain them.
/// These methods run an action that may open a connection, such as a query of Entity Framework. If the server refuses the
/// login, and a newer token may help, they request a newer token and run the action again. All other errors are
/// rethrown unchanged.
/// </para>
/// <para>
/// A login error that remains is an <see cref="EntraLoginException"/>. The action must be safe to run again, but a login error
/// occurs before its first statement is sent. Connections that are opened outside of the caller's asynchronous flow, as
/// with <c>Multiplexing=true</c>, are not retried.
/// </para>
/// </remarks>
public static class EntraLoginRetry
{
    /// <summary>Runs an action.</summary>
    /// <typeparam name="T">The type of its result.</typeparam>
    /// <param name="action">The action. It runs at most twice.</param>
    /// <returns>The action's result.</returns>
    /// <exception cref="EntraLoginException">The server refused the login.</exception>
    public static T Run<T>(Func<T> action)
    {
        ArgumentNullException.ThrowIfNull(action);
        using var attempt = LoginAttempt.Begin();
        try
        {
            return action();
        }
        catch (Exception failure) when (FindLoginError(failure, attempt) is { } error)
        {
            if (!attempt.Renew(error))
            {
                throw Explained(failure, error, attempt);
            }
        }

        try
        {
            return action();
        }
        catch (Exception failure) when (FindLoginError(failure, attempt) is { } error)
        {
            throw Explained(failure, error, attempt);
        }
    }

    /// <summary>Runs an asynchronous action.</summary>
    /// <typeparam name="T">The type of its result.</typeparam>
    /// <param name="action">The action. It runs at most twice.</param>
    /// <param name="cancellationToken">Is passed to the action, and ends the wait for a newer token.</param>
    /// <returns>The action's result.</returns>
    /// <exception cref="EntraLoginException">The server refused the login.</exception>
    public static async Task<T> RunAsync<T>(
        Func<CancellationToken, Task<T>> action, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(action);
        using var attempt = LoginAttempt.Begin();
        try
        {
            return await action(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception failure) when (FindLoginError(failure, attempt) is { } error)
        {
            if (!await attempt.RenewAsync(error, cancellationToken).ConfigureAwait(false))
            {
                throw Explained(failure, error, attempt);
            }
        }

        try
        {
            return await action(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception failure) when (FindLoginError(failure, attempt) is { } error)
        {
            throw Explained(failure, error, attempt);
        }
    }

    /// <summary>Opens a connection, with one retry after a login error, and explains a login error.</summary>
    /// <param name="dataSource">A data source that was configured with <c>UseEntraAuthentication</c>.</param>
    /// <returns>The open connection.</returns>
    /// <exception cref="EntraLoginException">The server refused the login.</exception>
    public static NpgsqlConnection OpenEntraConnection(this NpgsqlDataSource dataSource)
    {
        ArgumentNullException.ThrowIfNull(dataSource);
        return Run(dataSource.OpenConnection);
    }

    /// <summary>Opens a connection, with one retry after a login error, and explains a login error.</summary>
    /// <param name="dataSource">A data source that was configured with <c>UseEntraAuthentication</c>.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <returns>The open connection.</returns>
    /// <exception cref="EntraLoginException">The server refused the login.</exception>
    public static Task<NpgsqlConnection> OpenEntraConnectionAsync(
        this NpgsqlDataSource dataSource, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(dataSource);
        return RunAsync(token => dataSource.OpenConnectionAsync(token).AsTask(), cancellationToken);
    }

    /// <summary>Returns the server's error if the failure is a login error of a login with a token.</summary>
    private static PostgresException? FindLoginError(Exception failure, LoginAttempt attempt)
    {
        if (!attempt.HasLogin)
        {
            return null;
        }

        for (var inner = failure; inner is not null; inner = inner.InnerException)
        {
            if (inner is PostgresException error)
            {
                // Class 28: invalid authorization specification.
                return error.SqlState.StartsWith("28", StringComparison.Ordinal) ? error : null;
            }
        }

        return null;
    }

    private static Exception Explained(Exception failure, PostgresException error, LoginAttempt attempt)
    {
        if (attempt.Explain(error) is { } explanation)
        {
            return new EntraLoginException(error, explanation);
        }

        ExceptionDispatchInfo.Throw(failure);
        return failure;
    }
}
