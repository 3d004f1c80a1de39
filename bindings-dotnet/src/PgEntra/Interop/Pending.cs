using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using PgEntra.Identity;

namespace PgEntra.Interop;

/// <summary>Starts an asynchronous call of the engine's that ends in <paramref name="callback"/>.</summary>
internal unsafe delegate int StartCall(
    delegate* unmanaged[Cdecl]<nint, Outcome*, void> callback, nint userData, out OperationHandle operation, out nint error);

/// <summary>A call of the engine's that is under way.</summary>
internal abstract unsafe class Pending
{
    /// <summary>How long threads beside the one that ends the process go on waiting.</summary>
    private static readonly TimeSpan Farewell = TimeSpan.FromSeconds(2);

    private static readonly Registry<Pending> UnderWay = new();

    private readonly int thread = Environment.CurrentManagedThreadId;

    /// <summary>How many there are.</summary>
    internal static int Count => UnderWay.Count;

    /// <summary>Starts the call. Its outcome is told once, by <see cref="Complete"/>.</summary>
    protected OperationHandle Start(StartCall start)
    {
        var id = UnderWay.Add(this);
        int code;
        OperationHandle operation;
        nint error;
        try
        {
            code = start(&Done, id, out operation, out error);
        }
        catch
        {
            // The handle is closed.
            _ = UnderWay.Remove(id);
            throw;
        }

        if (code != 0)
        {
            _ = UnderWay.Remove(id);
            throw Library.TakeError(error);
        }

        return operation;
    }

    protected static void Cancel(OperationHandle operation)
    {
        try
        {
            _ = Native.Cancel(operation, out var error);
            Native.FreeError(error);
        }
        catch (ObjectDisposedException)
        {
            // The wait has ended.
        }
    }

    /// <summary>On a thread of the engine's. What it is given lasts as long as the call.</summary>
    protected abstract void Complete(in Outcome outcome);

    /// <summary>The call has failed.</summary>
    protected abstract void Fail(Exception failure);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Done(nint id, Outcome* outcome)
    {
        try
        {
            var call = UnderWay.Find(id);
            if (call is not null && outcome->Code == (int)ErrorKind.ShuttingDown && Library.EndsBeside(call.thread))
            {
                // An exception that nobody catches would abort the process, which is about to end with its own status. It
                // is thrown in the end for what waits for this thread before it lets the process end.
                var failure = Library.ReadError(outcome->Error);
                _ = Task.Delay(Farewell).ContinueWith(_ => call.Fail(failure), TaskScheduler.Default);
                return;
            }

            call?.Complete(*outcome);
        }
        finally
        {
            _ = UnderWay.Remove(id);
        }
    }
}

/// <summary>What comes of a successful call.</summary>
internal delegate T ReadOutcome<out T>(in Outcome outcome);

/// <summary>A call that a task waits for.</summary>
internal sealed class PendingTask<T>(ReadOutcome<T> read) : Pending
{
    // Continuations must not run on the engine's thread.
    private readonly TaskCompletionSource<T> source = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal async Task<T> RunAsync(StartCall start, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var operation = Start(start);
        using var registration = cancellationToken.UnsafeRegister(
            (_, token) =>
            {
                _ = source.TrySetCanceled(token);
                Cancel(operation);
            },
            null);
        return await source.Task.ConfigureAwait(false);
    }

    protected override void Complete(in Outcome outcome)
    {
        try
        {
            _ = outcome.Code == 0 ? source.TrySetResult(read(outcome)) : source.TrySetException(Library.ReadError(outcome.Error));
        }
        catch (Exception failure)
        {
            // Nothing may cross into the engine.
            _ = source.TrySetException(failure);
        }
    }

    protected override void Fail(Exception failure) => source.TrySetException(failure);
}

/// <summary>A call that a thread waits for; the engine's thread wakes it, without a task and without the thread pool.</summary>
internal sealed class PendingThread<T>(ReadOutcome<T> read) : Pending
{
    private readonly object gate = new();
    private bool ended;
    private T? result;
    private Exception? failure;

    internal T Run(StartCall start, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var operation = Start(start);
        using var registration = cancellationToken.UnsafeRegister(
            (_, token) =>
            {
                End(default, new OperationCanceledException(token));
                Cancel(operation);
            },
            null);
        lock (gate)
        {
            while (!ended)
            {
                _ = Monitor.Wait(gate);
            }
        }

        return failure is null ? result! : throw failure;
    }

    protected override void Complete(in Outcome outcome)
    {
        try
        {
            if (outcome.Code == 0)
            {
                End(read(outcome), null);
            }
            else
            {
                End(default, Library.ReadError(outcome.Error));
            }
        }
        catch (Exception unexpected)
        {
            // Nothing may cross into the engine.
            End(default, unexpected);
        }
    }

    protected override void Fail(Exception failure) => End(default, failure);

    private void End(T? value, Exception? error)
    {
        lock (gate)
        {
            if (!ended)
            {
                (ended, result, failure) = (true, value, error);
                Monitor.PulseAll(gate);
            }
        }
    }
}
