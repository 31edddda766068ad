// A load generator: one POST body, over and over, from N callers in a closed loop, or at a fixed rate.
// With -until TEXT a request's time ends when TEXT has arrived (the first token of a stream); the rest is read anyway.
// Prints one JSON document: requests, failed, seconds, milliseconds at p50 and p99, and its own CPU seconds.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"sort"
	"sync"
	"syscall"
	"time"
)

func main() {
	url := flag.String("url", "", "address")
	body := flag.String("body", "{}", "JSON body")
	callers := flag.Int("callers", 16, "closed loop: how many at once")
	rate := flag.Float64("rate", 0, "open loop: requests a second; 0 is a closed loop")
	seconds := flag.Float64("seconds", 5, "how long")
	key := flag.String("key", "", "API key")
	until := flag.String("until", "", "stop the clock at this text")
	flag.Parse()
	client := &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 4096, MaxIdleConns: 4096},
	}
	var lock sync.Mutex
	var times []float64
	failed := 0
	call := func(due time.Time) {
		at, ok := post(client, *url, *body, *key, *until)
		took := float64(at.Sub(due).Microseconds()) / 1000
		lock.Lock()
		defer lock.Unlock()
		if ok {
			times = append(times, took)
		} else {
			failed++
		}
	}
	began := time.Now()
	end := began.Add(time.Duration(*seconds * float64(time.Second)))
	var group sync.WaitGroup
	if *rate > 0 {
		gap := time.Duration(float64(time.Second) / *rate)
		for due := began; due.Before(end); due = due.Add(gap) {
			time.Sleep(time.Until(due))
			group.Add(1)
			go func(due time.Time) { defer group.Done(); call(due) }(due)
		}
	} else {
		for i := 0; i < *callers; i++ {
			group.Add(1)
			go func() {
				defer group.Done()
				for time.Now().Before(end) {
					call(time.Now())
				}
			}()
		}
	}
	group.Wait()
	report(times, failed, time.Since(began).Seconds())
}

// When the answer had arrived, or its part that is waited for; and whether it was a good one.
func post(client *http.Client, url, body, key, until string) (time.Time, bool) {
	request, err := http.NewRequest("POST", url, bytes.NewReader([]byte(body)))
	if err != nil {
		return time.Now(), false
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := client.Do(request)
	if err != nil {
		return time.Now(), false
	}
	defer response.Body.Close()
	seen, begun := time.Now(), until == ""
	if !begun {
		seen, begun = await(response.Body, until)
	}
	_, err = io.Copy(io.Discard, response.Body)
	if until == "" {
		seen = time.Now()
	}
	return seen, err == nil && begun && response.StatusCode/100 == 2
}

func await(stream io.Reader, text string) (time.Time, bool) {
	var received []byte
	piece := make([]byte, 4096)
	for {
		size, err := stream.Read(piece)
		received = append(received, piece[:size]...)
		if bytes.Contains(received, []byte(text)) {
			return time.Now(), true
		}
		if err != nil {
			return time.Now(), false
		}
	}
}

func report(times []float64, failed int, seconds float64) {
	sort.Float64s(times)
	at := func(share float64) float64 {
		if len(times) == 0 {
			return 0
		}
		return times[int(share*float64(len(times)-1))]
	}
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	cpu := float64(used.Utime.Sec+used.Stime.Sec) + float64(used.Utime.Usec+used.Stime.Usec)/1e6
	_ = json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"requests": float64(len(times)), "failed": float64(failed), "seconds": seconds,
		"p50": at(0.5), "p99": at(0.99), "cpu": cpu,
	})
}
