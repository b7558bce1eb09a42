package wan

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// fates sends n frames of 1,000 bytes a microsecond apart.
func fates(p *pipe, n int) []fate {
	var all []fate
	for i := range n {
		all = append(all, p.send(time.Duration(i)*time.Microsecond, 1000))
	}
	return all
}

func TestTheSeedDecides(t *testing.T) {
	link := Link{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.1, Duplicate: 0.1, Reorder: true}
	one, same := newPipe(7, "a", "b"), newPipe(7, "a", "b")
	other, back := newPipe(8, "a", "b"), newPipe(7, "b", "a")
	for _, p := range []*pipe{one, same, other, back} {
		p.set(link)
	}
	want := fates(one, 5000)
	if !reflect.DeepEqual(want, fates(same, 5000)) {
		t.Error("the same seed and direction decided differently")
	}
	if reflect.DeepEqual(want, fates(other, 5000)) || reflect.DeepEqual(want, fates(back, 5000)) {
		t.Error("another seed or direction decided the same")
	}
	c := one.counters()
	if c.Lost < 400 || c.Lost > 600 || c.Duplicated < 350 || c.Duplicated > 550 {
		t.Errorf("of 5,000 frames at 10 %% each %d were lost and %d came twice", c.Lost, c.Duplicated)
	}
	if c.Frames != 5000 || c.Bytes != 5_000_000 {
		t.Errorf("counted %+v", c)
	}
}

func TestLuckDoesNotDependOnWhatWasSetBefore(t *testing.T) {
	changed, steady := newPipe(1, "a", "b"), newPipe(1, "a", "b")
	steady.set(Link{Loss: 0.5})
	changed.set(Link{Cut: true})
	fates(changed, 100)
	fates(steady, 100)
	changed.set(Link{Loss: 0.5})
	for i := range 100 {
		if c, s := changed.send(time.Second, 10), steady.send(time.Second, 10); c.copies != s.copies {
			t.Fatalf("frame %d: %d copies after a cut, %d without", 100+i, c.copies, s.copies)
		}
	}
}

func TestJitterKeepsTheOrderUnlessToldOtherwise(t *testing.T) {
	for _, reorder := range []bool{false, true} {
		p := newPipe(3, "a", "b")
		p.set(Link{Delay: time.Millisecond, Jitter: time.Millisecond, Reorder: reorder})
		swapped, last := false, time.Duration(0)
		for _, f := range fates(p, 200) {
			swapped = swapped || f.due[0] < last
			last = f.due[0]
			if f.due[0] < time.Millisecond || f.due[0] > 2*time.Millisecond+200*time.Microsecond {
				t.Fatalf("a frame arrives at %s", f.due[0])
			}
		}
		if swapped != reorder {
			t.Errorf("reorder %v: order changed: %v", reorder, swapped)
		}
	}
}

func TestBandwidthQueuesThenDrops(t *testing.T) {
	p := newPipe(3, "a", "b")
	p.set(Link{Bandwidth: 1_000_000, Queue: 10_000})
	var arrived int
	for i := range 100 {
		f := p.send(0, 1000)
		if f.copies == 0 {
			continue
		}
		arrived++
		if want := time.Duration(i+1) * time.Millisecond; f.due[0] != want {
			t.Errorf("frame %d arrives at %s, not %s", i, f.due[0], want)
		}
	}
	if c := p.counters(); arrived != 10 || c.Overflowed != 90 {
		t.Errorf("%d of 100 frames fit a queue of 10; %+v", arrived, c)
	}
}

func TestLinksThatMakeNoSense(t *testing.T) {
	nan := 0.0
	nan /= nan
	for _, l := range []Link{{Delay: -1}, {Jitter: -1}, {Loss: -0.1}, {Loss: 1.1}, {Duplicate: 2}, {Loss: nan}, {Bandwidth: -1}, {Queue: -1}} {
		if l.Validate() == nil {
			t.Errorf("%+v was taken", l)
		}
	}
}

// A testDevice gives what the test puts in and keeps what the fabric writes.
type testDevice struct {
	in     chan []byte
	mu     sync.Mutex
	out    []string
	closed sync.Once
	wrote  chan struct{}
}

func (d *testDevice) Read(p []byte) (int, error) {
	frame, ok := <-d.in
	if !ok {
		return 0, io.EOF
	}
	return copy(p, frame), nil
}

func (d *testDevice) Write(p []byte) (int, error) {
	d.mu.Lock()
	d.out = append(d.out, string(p[14:]))
	d.mu.Unlock()
	d.wrote <- struct{}{}
	return len(p), nil
}

func (d *testDevice) Close() error { d.closed.Do(func() { close(d.in) }); return nil }

func testFabric(t *testing.T, hosts int) (*fabric, []*testDevice) {
	var names []string
	var devices []*testDevice
	var rw []io.ReadWriteCloser
	for i := range hosts {
		d := &testDevice{in: make(chan []byte), wrote: make(chan struct{}, 10000)}
		names, devices, rw = append(names, fmt.Sprint("h", i)), append(devices, d), append(rw, d)
	}
	sl, err := newSleeper()
	if err != nil {
		t.Fatal(err)
	}
	f := newFabric(1, names, 1500, rw, sl)
	t.Cleanup(f.close)
	return f, devices
}

func frame(to int, text string) []byte {
	m := mac(to)
	return append(append(m[:], 0x02, 'H', 'L', 'G', 0, 0, 0x08, 0x00), text...)
}

func TestFramesReachTheirHostInOrder(t *testing.T) {
	f, d := testFabric(t, 3)
	if err := f.Set("h0", "h1", Link{Delay: 3 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 500 {
		if i == 250 { // what is delayed is not overtaken
			f.Set("h0", "h1", Link{})
		}
		want = append(want, fmt.Sprint(i))
		d[0].in <- frame(1, want[i])
		d[0].in <- frame(2, "for h2")
		d[0].in <- frame(7, "for nobody")
		d[0].in <- []byte("\xff\xff\xff\xff\xff\xff from h0 to all")
		d[0].in <- []byte("short")
	}
	for range want {
		<-d[1].wrote
		<-d[2].wrote
	}
	if !reflect.DeepEqual(d[1].out, want) {
		t.Errorf("frames arrived as %v", d[1].out)
	}
	c, err := f.Counters("h0", "h1")
	if err != nil || c.Frames != 500 || c.Bytes != uint64(500*14+len(strings.Join(want, ""))) {
		t.Errorf("counted %+v, %v", c, err)
	}
	if c, _ := f.Counters("h1", "h0"); c != (Counters{}) {
		t.Errorf("the other direction counted %+v", c)
	}
}

func TestACutDropsWhatIsOnItsWay(t *testing.T) {
	f, d := testFabric(t, 2)
	f.Set("h0", "h1", Link{Delay: time.Hour})
	d[0].in <- frame(1, "late")
	d[0].in <- frame(1, "later") // when this is taken, the first is on its way
	f.queue.mu.Lock()
	late := f.queue.heap[0]
	f.queue.mu.Unlock()
	f.Set("h0", "h1", Link{Cut: true})
	f.hand(late)
	if c, _ := f.Counters("h0", "h1"); c.Cut != 1 || len(d[1].out) != 0 {
		t.Errorf("over a cut link came %q, counted %+v", d[1].out, c)
	}
}

func TestHostsThatAreNotThere(t *testing.T) {
	f, _ := testFabric(t, 1)
	_, err := f.Link("h0", "nobody")
	if err == nil || f.Set("nobody", "h0", Link{}) == nil {
		t.Error("links of strangers")
	}
}
