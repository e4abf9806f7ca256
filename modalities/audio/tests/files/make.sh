#!/bin/sh
# Write the clips of this folder: 0.25 s of a tone of 1 kHz and amplitude 0.5, mono at 16 kHz and stereo at 44.1 kHz, whose
# right channel is silent; stereo.flac lasts 0.1 s and has 24 bits. Uses ffmpeg 5.1 (libmp3lame, libvorbis, libopus and
# its own AAC encoder) and flac 1.4.2.
set -e
make() { # SOURCE NAME ENCODER...
    source=$1 name=$2
    shift 2
    ffmpeg -y -loglevel error -f lavfi -i "$source" -bitexact -map_metadata -1 "$@" "$name"
}
tone='0.5*sin(2*PI*1000*t)'
mono="aevalsrc=$tone:s=16000:d=0.25"
stereo="aevalsrc=$tone|0:s=44100:d=0.25"
wav=$(mktemp -d)
make "$mono" "$wav/mono.wav" -c:a pcm_s16le
make "aevalsrc=$tone|0:s=44100:d=0.1" "$wav/stereo.wav" -c:a pcm_s24le
for name in mono stereo; do
    flac --silent --force -8 --no-padding --no-seektable "$wav/$name.wav" -o $name.flac
done
rm -r "$wav"
make "$mono" mono.mp3 -c:a libmp3lame -b:a 48k
make "$mono" mono.ogg -c:a libvorbis -q:a 6
make "$mono" mono.m4a -c:a aac -b:a 64k
make "$mono" mono.aac -c:a aac -b:a 64k
make "$stereo" stereo.mp3 -c:a libmp3lame -b:a 128k -joint_stereo 0
make "$stereo" stereo.ogg -c:a libvorbis -q:a 6
make "$stereo" stereo.m4a -c:a aac -b:a 128k
make "$mono" opus.ogg -c:a libopus -b:a 16k
