// A provider that is never the bottleneck: OpenAI's chat completions with a fixed latency, whole or streamed.
// The faults that tests need are in tests/provider; this one only measures.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"
)

const (
	head  = `{"id":"chatcmpl-bench","created":1700000000,"model":"simulated-1",`
	usage = `"usage":{"prompt_tokens":12,"completion_tokens":5,"total_tokens":17}`
	whole = head + `"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",` +
		`"content":"A simulated answer."},"finish_reason":"stop"}],` + usage + `}`
	chunk = "data: " + head + `"object":"chat.completion.chunk","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}` + "\n\n"
	last  = "data: " + head + `"object":"chat.completion.chunk","choices":[],` + usage + "}\n\ndata: [DONE]\n\n"
)

func main() {
	address := flag.String("address", "127.0.0.1:0", "host and port")
	latency := flag.Duration("latency", 50*time.Millisecond, "before the first byte")
	pause := flag.Duration("pause", 10*time.Millisecond, "between the pieces of a stream")
	flag.Parse()
	http.HandleFunc("/", func(out http.ResponseWriter, request *http.Request) {
		began := time.Now()
		var asked struct{ Stream bool }
		_ = json.NewDecoder(request.Body).Decode(&asked)
		time.Sleep(*latency - time.Since(began))
		if asked.Stream {
			stream(out, *pause)
			return
		}
		out.Header().Set("Content-Type", "application/json")
		_, _ = out.Write([]byte(whole))
	})
	if err := http.ListenAndServe(*address, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func stream(out http.ResponseWriter, pause time.Duration) {
	out.Header().Set("Content-Type", "text/event-stream")
	say := func(text string) {
		_, _ = out.Write([]byte(text))
		out.(http.Flusher).Flush()
	}
	say(fmt.Sprintf(chunk, `{"role":"assistant","content":""}`, "null") + fmt.Sprintf(chunk, `{"content":"A"}`, "null"))
	for _, word := range []string{" simulated", " answer", "."} {
		time.Sleep(pause)
		say(fmt.Sprintf(chunk, `{"content":"`+word+`"}`, "null"))
	}
	say(fmt.Sprintf(chunk, `{}`, `"stop"`) + last)
}
