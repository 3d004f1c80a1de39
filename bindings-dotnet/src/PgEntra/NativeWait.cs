using PgEntra.Interop;

namespace PgEntra;

/// <summary>Waits for a call of the engine, which may request tokens from custom credentials during the wait.</summary>
internal static class NativeWait
{
    /// <summary>Blocks until the call has ended.</summary>
    /// <param name="members">The custom credentials that may be called. The engine holds them weakly, so the wait keeps them alive.</param>
    /// <param name="call">Starts the call.</param>
    /// <param name="read">Converts the outcome to a result.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    internal static T Block<T>(
        IReadOnlyList<CustomCredential> members, StartCall call, ReadOutcome<T> read, CancellationToken cancellationToken)
    {
        using var waiters = new Waiters(members, blocking: true);
        return new BlockingCall<T>(read).Run(call, cancellationToken);
    }

    /// <inheritdoc cref="Block"/>
    /// <summary>Waits for the end of the call without blocking a thread.</summary>
    internal static async Task<T> AwaitAsync<T>(
        IReadOnlyList<CustomCredential> members, StartCall call, ReadOutcome<T> read, CancellationToken cancellationToken)
    {
        using var waiters = new Waiters(members, blocking: false);
        return await new TaskCall<T>(read).RunAsync(call, cancellationToken).ConfigureAwait(false);
    }

    private readonly struct Waiters : IDisposable
    {
        private readonly IReadOnlyList<CustomCredential> members;
        private readonly ExecutionContext? context;
        private readonly bool blocking;

        internal Waiters(IReadOnlyList<CustomCredential> members, bool blocking)
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
