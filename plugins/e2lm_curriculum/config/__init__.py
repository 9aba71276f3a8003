"""What a file of ``e2lm train`` may say, checked. (What it may say of a curriculum: plan/setting.py.)"""
