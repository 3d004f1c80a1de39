using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>How a caller waits for the engine, which may have to ask credentials of the program meanwhile.</summary>
internal static class Waiting
{
    /// <summary>Blocks until the call has ended.</summary>
    /// <param name="members">The credentials that may be asked: they are weakly known, and kept alive here.</param>
    /// <param name="call">Begins the call.</param>
    /// <param name="read">Makes the result of its outcome.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    internal static T Block<T>(
        IReadOnlyList<ForeignCredential> members, StartCall call, ReadOutcome<T> read, CancellationToken cancellationToken)
    {
        using var waiters = new Waiters(members, blocking: true);
        return new PendingThread<T>(read).Run(call, cancellationToken);
    }

    /// <inheritdoc cref="Block"/>
    /// <summary>Waits for the end of the call without blocking a thread.</summary>
    internal static async Task<T> AwaitAsync<T>(
        IReadOnlyList<ForeignCredential> members, StartCall call, ReadOutcome<T> read, CancellationToken cancellationToken)
    {
        using var waiters = new Waiters(members, blocking: false);
        return await new PendingTask<T>(read).RunAsync(call, cancellationToken).ConfigureAwait(false);
    }

    private readonly struct Waiters : IDisposable
    {
        private readonly IReadOnlyList<ForeignCredential> members;
        private readonly ExecutionContext? context;
        private readonly bool blocking;

        internal Waiters(IReadOnlyList<ForeignCredential> members, bool blocking)
        {
            foreach (var member in members)
            {
                member.RefuseDeadlock();
            }

            (this.members, this.blocking) = (members, blocking);
            context = members.Count > 0 ? ExecutionContext.Capture() : null;
            foreach (var member in members)
            {
                member.BeginWait(context, blocking);
            }
        }

        public void Dispose()
        {
            foreach (var member in members)
            {
                member.EndWait(context, blocking);
            }
        }
    }
}
