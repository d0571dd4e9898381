#!/bin/sh
# An environment with the libraries of all examples, for the CPU: setup.sh PYTHON DIRECTORY TORCH
#
# The order matters. Torch comes first, or its CUDA build does. torchaudio's wheel is built for CUDA: without its
# compiled parts it falls back to torch, which is enough here. torchcodec 0.13 is the last one for the CPU.
set -eu

python=$1 directory=$2 torch=$3
pip="$directory/bin/python -m pip install -q"

sh tools/setup.sh venv "$python" "$directory" "$torch" dev,demo,hf,s3,modal,runpod
$pip --no-deps torchaudio==2.11.0 torchcodec==0.13.0
rm -f "$directory"/lib/python3.*/site-packages/torchaudio/lib/*.so
$pip -r examples/requirements.txt
# Without gradio, bitsandbytes and a second torchcodec, which nothing here calls.
$pip --no-deps f5-tts==1.1.22
