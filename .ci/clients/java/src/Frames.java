import java.io.DataInputStream;
import java.io.EOFException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;

/** Says of each batch of standard input (behind its length) whether Java's consumer would read all of it. */
public final class Frames {
    public static void main(String[] arguments) throws Exception {
        DataInputStream in = new DataInputStream(new java.io.BufferedInputStream(System.in, 1 << 20));
        PrintStream out = new PrintStream(System.out, false);
        while (true) {
            int length;
            try {
                length = in.readInt();
            } catch (EOFException end) {
                break;
            }
            byte[] bytes = new byte[length];
            in.readFully(bytes);
            out.println(judge(bytes));
        }
        out.flush();
    }

    private static String judge(byte[] bytes) {
        try {
            int batches = 0;
            for (RecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(bytes)).batches()) {
                batches++;
                batch.ensureValid();
                for (Record record : batch) {
                    record.ensureValid();
                }
            }
            return batches == 1 ? "ok" : "no batch";
        } catch (Throwable refused) {
            return refused.toString().replace('\n', ' ');
        }
    }
}
