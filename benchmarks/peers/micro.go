// The micro-benchmarks for Go. The same command line as the ones in Python: CASE AMOUNT, or --list.
package main

import (
	"encoding/json"
	"log"
	"net"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	batch = 1000
	chunk = 100000 // operations between two looks at the clock, which counts in microseconds
	sleep = 100 * time.Microsecond
	timers = 1000000 // armed at once
)

type result map[string]float64

func processTime() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// cpu repeats run() for about so many seconds: the median CPU time of one of its operations, in microseconds.
func cpu(seconds float64, operations int, run func()) result {
	var samples []float64
	run() // warm
	end := time.Now().Add(time.Duration(seconds * 1e9))
	for len(samples) == 0 || time.Now().Before(end) {
		start := processTime()
		run()
		samples = append(samples, float64(processTime()-start))
	}
	sort.Float64s(samples)
	return result{"value": samples[len(samples)/2] / float64(operations) / 1e3}
}

func goJoin(seconds float64) result {
	return cpu(seconds, chunk, func() {
		for i := 0; i < chunk/batch; i++ {
			var wg sync.WaitGroup
			wg.Add(batch)
			for j := 0; j < batch; j++ {
				go wg.Done()
			}
			wg.Wait()
		}
	})
}

func gosched(seconds float64) result {
	return cpu(seconds, chunk, func() {
		var wg sync.WaitGroup
		wg.Add(2)
		for i := 0; i < 2; i++ {
			go func() {
				for j := 0; j < chunk/2; j++ {
					runtime.Gosched()
				}
				wg.Done()
			}()
		}
		wg.Wait()
	})
}

func channelUnbuffered(seconds float64) result {
	ping, pong := make(chan int), make(chan int)
	go func() {
		for v := range ping {
			pong <- v
		}
	}()
	return cpu(seconds, chunk, func() {
		for i := 0; i < chunk; i++ {
			ping <- i
			<-pong
		}
	})
}

func channelBuffered(seconds float64) result {
	ch := make(chan int, 16)
	return cpu(seconds, chunk, func() {
		for i := 0; i < chunk; i++ {
			ch <- i
			<-ch
		}
	})
}

func selectReady(seconds float64) result {
	a, b := make(chan int, chunk), make(chan int, chunk)
	return cpu(seconds, chunk, func() {
		for i := 0; i < chunk/2; i++ {
			select {
			case a <- i:
			case b <- i:
			}
		}
		for i := 0; i < chunk/2; i++ {
			select {
			case <-a:
			case <-b:
			}
		}
	})
}

// Go's standard library has no semaphore; a channel of empty structs is the idiom.
func wake(seconds float64) result {
	mine, other := make(chan struct{}, 1), make(chan struct{}, 1)
	go func() {
		for {
			<-other
			mine <- struct{}{}
		}
	}()
	return cpu(seconds, chunk, func() {
		for i := 0; i < chunk/2; i++ {
			other <- struct{}{}
			<-mine
		}
	})
}

func lock(seconds float64) result {
	var mutex sync.Mutex
	return cpu(seconds, chunk, func() {
		for i := 0; i < chunk; i++ {
			mutex.Lock()
			mutex.Unlock()
		}
	})
}

func setDeadline(seconds float64) result {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	start := time.Now().Add(30 * time.Second)
	return cpu(seconds, chunk, func() {
		for i := 0; i < chunk; i++ {
			conn.SetReadDeadline(start.Add(time.Duration(i) * time.Millisecond))
		}
	})
}

func armAndStop(seconds float64) result {
	armed := make([]*time.Timer, timers)
	return cpu(seconds, timers, func() {
		for i := range armed {
			armed[i] = time.NewTimer(30 * time.Second)
		}
		for _, timer := range armed {
			timer.Stop()
		}
	})
}

func sleepOvershoot(seconds float64) result {
	var late []float64
	end := time.Now().Add(time.Duration(seconds * 1e9))
	for len(late) == 0 || time.Now().Before(end) {
		start := time.Now()
		time.Sleep(sleep)
		late = append(late, float64(time.Since(start)-sleep)/1e3)
	}
	sort.Float64s(late)
	return result{"value": late[len(late)/2], "p99": late[len(late)*99/100]}
}

func anonymousBytes() float64 {
	runtime.GC()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "Anonymous:") {
			kib, _ := strconv.Atoi(strings.Fields(line)[1])
			return float64(kib) * 1024
		}
	}
	log.Fatal("no Anonymous line in smaps_rollup")
	return 0
}

func parkedMemory(count float64) result {
	n := int(count)
	var started sync.WaitGroup
	started.Add(n)
	before := anonymousBytes()
	for i := 0; i < n; i++ {
		go func() {
			started.Done()
			time.Sleep(time.Hour)
		}()
	}
	started.Wait()
	time.Sleep(10 * time.Millisecond)
	return result{"value": (anonymousBytes() - before) / float64(n)}
}

func main() {
	cases := map[string]func(float64) result{
		"go_join":            goJoin,
		"gosched":            gosched,
		"channel_unbuffered": channelUnbuffered,
		"channel_buffered":   channelBuffered,
		"select":             selectReady,
		"wake":               wake,
		"lock":               lock,
		"set_deadline":       setDeadline,
		"timers":             armAndStop,
		"sleep_overshoot":    sleepOvershoot,
		"parked_memory":      parkedMemory,
	}
	out := json.NewEncoder(os.Stdout)
	if os.Args[1] == "--list" {
		names := []string{}
		for name := range cases {
			names = append(names, name)
		}
		out.Encode(map[string][]string{"cases": names})
		return
	}
	amount, err := strconv.ParseFloat(os.Args[2], 64)
	if err != nil {
		log.Fatal(err)
	}
	out.Encode(cases[os.Args[1]](amount))
}
